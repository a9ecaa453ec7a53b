"""A release that is killed: the next one ends where an undisturbed one would have."""

import contextlib
import itertools
import sqlite3
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.project import (
    STEPS,
    Project,
    eventually,
    only_the_services_run,
    record,
    served,
    states,
    versions_in_production,
)

ALPHAS = ["3.0", "1.0", "0.5"]  # each better than the one before

pytestmark = pytest.mark.slow


def kill_at(project: Project, step: str, moment: str) -> list[str]:
    """Start a release, kill it when a step begins or its server takes over, and return the steps it ran until then."""
    ran = []
    with project.start("release") as process:
        assert process.stdout
        try:
            for line in process.stdout:
                if line.split()[1:2] == ["..."]:
                    ran.append(line.split()[0])
                if ran[-1:] == [step]:
                    break
            assert ran[-1:] == [step], f"{step} did not begin"
            if moment == "takes over":
                # The new server has the traffic, and the release cannot yet put it on record.
                with database(project) as locked:
                    locked.execute("BEGIN IMMEDIATE")
                    before = controls(project)
                    eventually(lambda: controls(project) - before)
                    process.kill()
                    process.wait(60)
        finally:
            process.kill()
    return ran


def controls(project: Project) -> set[str]:
    return {str(path) for path in (project.root / ".workspace/services").glob("*/*/control")}


@contextlib.contextmanager
def database(project: Project) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(project.root / ".workspace/workspace.db")) as connection:
        yield connection


def registered(project: Project) -> list[int]:
    with database(project) as connection:
        return [row[0] for row in connection.execute("SELECT version FROM models ORDER BY version")]


def whole(project: Project, version: int) -> None:
    """Assert that everything is as after undisturbed releases of this many versions."""
    versions = [str(one) for one in range(version, 0, -1)]
    assert set(states(project).values()) == {"fresh"}
    assert registered(project) == list(range(1, version + 1))
    assert versions_in_production(project) == versions
    assert (served(project, "aci"), served(project, "aks")) == (versions[0], versions[0])
    assert record(project, "test.json")["checks"]
    assert len(list((project.root / ".workspace/images").glob("[!.]*"))) == version
    assert not list((project.root / "artifacts").rglob(".aside-*"))
    only_the_services_run(project)


def test_a_first_release_that_is_killed_again_and_again_goes_on_each_time(project: Project) -> None:
    assert kill_at(project, "train", "begins") == ["train"]
    for before, step in itertools.pairwise(STEPS):
        ran = kill_at(project, step, "begins")
        assert ran == [before, step], "what was done before is not done again"
    project.invoke("release")
    whole(project, 1)


def test_a_release_that_is_killed_at_any_moment_ends_as_an_undisturbed_one(project: Project) -> None:
    (project.root / "artifacts/local").mkdir(parents=True)
    (project.root / "artifacts/local/.aside-left").write_text("{")
    # The training takes some seconds, and each release after it begins where the one before was killed.
    for tenths in [*range(3, 40, 6), *range(3, 21, 2)]:
        with project.start("release") as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(tenths / 10)
            process.kill()
    project.invoke("release")
    whole(project, 1)


def test_a_first_deployment_that_was_killed_as_it_took_over_is_made_again(project: Project) -> None:
    kill_at(project, "aks", "takes over")
    project.invoke("release")
    whole(project, 1)


@pytest.fixture(scope="module")
def updated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("updated"))
    made.edit("config/release.toml", "alpha = 0.05", f"alpha = {ALPHAS[0]}")
    made.invoke("release")
    yield made
    made.close()


@pytest.mark.parametrize(("step", "moment"), [("aks", "takes over"), ("test", "begins")])
def test_an_update_that_was_killed_leaves_a_service_and_goes_on(updated: Project, step: str, moment: str) -> None:
    version = len(versions_in_production(updated))
    updated.edit("config/release.toml", f"alpha = {ALPHAS[version - 1]}", f"alpha = {ALPHAS[version]}")
    kill_at(updated, step, moment)
    assert served(updated) in {str(version), str(version + 1)}
    assert versions_in_production(updated)[0] in {str(version), str(version + 1)}
    updated.invoke("release")
    whole(updated, version + 1)
