"""`--dry`: no task changes anything, and each says what it would do and why."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from invoke.collection import Collection

import tasks
from tests.support.project import LIMIT_S, Project, changed, error, processes

ARGUMENTS = {
    "train": ["train", "--on", "env", "--force"],
    "release": ["release", "--force"],
    "test": ["test", "--service", "aci"],
    "why": ["why", "test"],
    "score": ["score", "rows.json"],
    "data": ["data", "mine.csv"],
    "keys": ["keys", "--new", "primary"],
    "adopt": ["adopt", "diabetes"],
    "stop": ["stop", "--yes", "--production"],
    "destroy": ["destroy", "--yes", "--production"],
    "ci": ["ci", "--github", "--azure"],
    "comment": ["comment", "report.md"],
    "manifest": ["manifest"],
    "start": ["start", "--watch"],
}
SAID = {
    "train": "train     would run: forced",
    "keys": "Would replace the primary key of aks",
    "stop": "To be stopped:\n  service diabetes-staging",
    "destroy": "To be removed:\n  service diabetes",
    "start": "diabetes serves version 1 already",
    "check": "$ ruff check",
    "ci": "Would write azure-pipelines.yml",
}
NAMES = sorted(Collection.from_module(tasks).task_names)


def content(root: Path) -> Iterator[tuple[str, str]]:
    """Yield every file of a project with its digest, but those of Python and git, and the services' own logs."""
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in ("__pycache__", ".git", ".ruff_cache")]
        for name in files:
            path = Path(folder, name)
            if path.is_file() and name != "log.txt":
                yield str(path), hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", NAMES)
def test_no_task_changes_anything(released: Project, name: str) -> None:
    before, running = dict(content(released.root)), processes(released)
    shown = released.invoke(*ARGUMENTS.get(name, [name]), "--dry")
    assert dict(content(released.root)) == before
    assert processes(released) == running
    assert shown.strip()
    assert SAID.get(name, "") in shown


@pytest.mark.parametrize("name", ["release", "status", "stop", "start", "setup", "history", "workspace"])
def test_nothing_is_created_in_a_new_project(project: Project, name: str) -> None:
    before = dict(content(project.root))
    with project.start(name, "--dry") as process:
        process.communicate(timeout=LIMIT_S)
    assert dict(content(project.root)) == before


def test_a_release_says_what_would_run_and_why(released: Project) -> None:
    with changed(released, "config/release.toml", "alpha = 0.05", "alpha = 0.06"):
        lines = released.invoke("release", "--dry").splitlines()
        assert lines[0] == "train     would run: train.parameters.alpha changed from 0.05 to 0.06"
        assert lines[1] == "evaluate  would run: train is stale"
        assert lines[2] == "register  would run unless the gate holds the model: evaluate is stale"
        assert "train is stale" in error(released, "aks", "--only", "--dry", expect=3)
    assert released.invoke("release", "--dry").splitlines()[-1] == "Nothing would run"
