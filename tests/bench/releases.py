"""How long the command line takes: against a floor, a trivial tasks.py, and a workspace with nothing in it."""

import contextlib
import functools
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench.measure import Result, in_turn
from tests.bench.programs import INVOKE, fresh_folder, fresh_project, released_project, timed
from tests.support.project import Project, free_port

FLOOR = [sys.executable, str(Path(__file__).with_name("floor.py"))]
QUICK = 4  # times as many rounds of what takes a moment
TRIVIAL = '''from invoke import task


@task
def hello(c):
    """Say hello."""
'''
MANY = 10_000
FILL = """
CREATE TEMP TABLE numbers AS WITH RECURSIVE up(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM up WHERE i <= {many})
    SELECT i FROM up;
CREATE TEMP TABLE more_runs AS SELECT * FROM runs, numbers;
UPDATE more_runs SET run_id = run_id || '-' || i, fingerprint = fingerprint || i;
ALTER TABLE more_runs DROP COLUMN i;
INSERT INTO runs SELECT * FROM more_runs;
CREATE TEMP TABLE more_models AS SELECT * FROM models, numbers;
UPDATE more_models SET version = i, sha256 = sha256 || i, run_id = run_id || '-' || i;
ALTER TABLE more_models DROP COLUMN i;
INSERT INTO models SELECT * FROM more_models;
"""


def listing(rounds: int) -> Iterator[Result]:
    """Measure `invoke --list`."""
    with fresh_project() as project, fresh_folder() as trivial:
        (trivial / "tasks.py").write_text(TRIVIAL)
        ours, other = in_turn(invoke(project, "--list"), lambda: timed([*INVOKE, "--list"], trivial), rounds * QUICK)
    yield Result("invoke --list / a trivial tasks.py", "s", ours, other, "at most", 1.15)


def first_image(rounds: int) -> Iterator[Result]:
    """Measure a first release up to and including its image."""
    ours, other = in_turn(functools.partial(first, "image"), floor, rounds)
    yield Result("first release to image / floor", "s", ours, other, "at most", 1.5)


def first_release(rounds: int) -> Iterator[Result]:
    """Measure a whole first release."""
    ours, other = in_turn(functools.partial(first, "release"), lambda: floor(str(free_port())), rounds)
    yield Result("whole first release / floor with service", "s", ours, other, "at most", 1.5)


def nothing_changed(rounds: int) -> Iterator[Result]:
    """Measure a release that has nothing to do; the floor knows its last run, too."""
    with released_project() as project, fresh_folder() as folder:
        ours, other = in_turn(invoke(project, "release"), lambda: timed(FLOOR, folder), rounds)
    yield Result("nothing changed / floor", "s", ours, other, "at most", 0.2)


def large_workspace(rounds: int) -> Iterator[Result]:
    """Measure with many runs and model versions in the workspace; status first, while all is fresh."""
    with released_project() as full, released_project() as empty:
        fill(full)
        for task, flags, count in (("status", [], rounds * QUICK), ("evaluate", ["--force"], rounds)):
            ours, other = in_turn(invoke(full, task, *flags), invoke(empty, task, *flags), count)
            yield Result(f"{task}, {MANY:,} models and runs / one", "s", ours, other, "at most", 1.2)


def invoke(project: Project, *arguments: str) -> Callable[[], float]:
    """Return what times a task of a project."""
    return lambda: timed([*INVOKE, *arguments], project.root)


def first(task: str) -> float:
    """Time a task in a project in which nothing has run yet."""
    with fresh_project() as project:
        return timed([*INVOKE, task], project.root)


def floor(*arguments: str) -> float:
    """Time the floor in an empty folder."""
    with fresh_folder() as folder:
        return timed([*FLOOR, *arguments], folder)


def fill(project: Project) -> None:
    """Multiply the project's run and model; the originals, which it goes on using, have their files."""
    with contextlib.closing(sqlite3.connect(project.root / ".workspace/workspace.db")) as database:
        database.executescript(FILL.format(many=MANY))
