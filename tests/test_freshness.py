"""What makes which step stale, and that nothing else does."""

import contextlib
import os
import shutil
import signal
import sqlite3

import pytest

from tests.support.project import (
    RECORDS,
    STEPS,
    Project,
    changed,
    eventually,
    from_on,
    record,
    served,
    server,
    states,
    told,
    versions_in_production,
)

pytestmark = pytest.mark.quick

TOML = "config/release.toml"
# name, file, old text (None: all of the file), new text, the first step that becomes stale, what its reason names
CHANGES = {
    "a new helper module": ("model/helper.py", None, "SCALE = 1\n", "train", "model/helper.py is new"),
    "a helper in a folder": ("model/features/scale.py", None, "SCALE = 1\n", "train", "model/features/scale.py is new"),
    "train.py": ("model/train.py", "Fit the regression.", "Fit it.", "train", "model/train.py changed"),
    "a parameter": (TOML, "alpha = 0.05", "alpha = 0.06", "train", "alpha changed from 0.05 to 0.06"),
    "a new parameter": (TOML, "seed = 42", "seed = 42\nouts = 1", "train", "train.parameters.outs is new"),
    "the environment": ("config/conda_dependencies.yml", "pip:", "pip:  # pinned", "train", "conda_dependencies.yml"),
    "the gate's floor": (TOML, "floor = 4000.0", "floor = 3999.0", "evaluate", "gate.floor changed from 4000.0"),
    "the gate's metric": (TOML, 'metric = "mse"', 'metric = "mae"', "evaluate", "gate.metric"),
    "score.py": ("service/score.py", "import math", "import math  # of numbers", "image", "service/score.py changed"),
    "a file beside score.py": ("service/names.txt", None, "age\n", "image", "service/names.txt is new"),
    "the rows to test": (TOML, "test_rows = 20", "test_rows = 21", "image", "limits.test_rows changed from 20 to 21"),
    "a limit of the services": (TOML, "request_bytes = 1048576", "request_bytes = 99999", "aci", "request_bytes"),
    "staging's workers": (TOML, "workers = 1", "workers = 3", "aci", "services.aci.local.workers changed from 1 to 3"),
    "production's workers": (
        TOML,
        "workers = 2",
        "workers = 3",
        "aks",
        "services.aks.local.workers changed from 2 to 3",
    ),
}


def stale_from(step: str) -> dict[str, str]:
    return {name: "stale" if name in from_on(step) else "fresh" for name in STEPS}


@pytest.mark.parametrize(("file", "old", "new", "first", "because"), CHANGES.values(), ids=CHANGES.keys())
def test_a_change_makes_stale_what_depends_on_it_and_says_so(
    released: Project, file: str, old: str | None, new: str, first: str, because: str
) -> None:
    with changed(released, file, old, new):
        found = told(released)
        assert {step: one["state"] for step, one in found.items()} == stale_from(first)
        assert because in found[first]["because"]


def test_a_change_that_is_taken_back_leaves_everything_fresh(released: Project) -> None:
    for file, old, new, first, _ in list(CHANGES.values())[::6]:
        with changed(released, file, old, new):
            assert states(released) == stale_from(first)
        assert set(states(released).values()) == {"fresh"}


def test_what_no_step_reads_makes_nothing_stale(released: Project) -> None:
    (released.root / "model/train.py").touch()
    with (
        changed(released, "model/.train.py.swp", None, "an editor's"),
        changed(released, "model/__pycache__/old.pyc", None, "Python's"),
        changed(released, "README.md", None, "Read me"),
        changed(released, TOML, "timeout_s = 600", "timeout_s = 601"),
    ):
        assert set(states(released).values()) == {"fresh"}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_that_is_gone_is_missing_and_what_follows_is_stale(released: Project, name: str) -> None:
    step = STEPS[RECORDS.index(name)]
    path = released.root / "artifacts/local" / name
    content = path.read_bytes()
    path.unlink()
    assert states(released) == stale_from(step) | {step: "missing"}
    path.write_bytes(content)


@pytest.mark.slow
def test_a_service_that_ended_is_stale_and_the_next_release_runs_only_what_brings_it_back(released: Project) -> None:
    os.killpg(server(released, "aks"), signal.SIGKILL)
    found = told(released)
    assert {step: one["state"] for step, one in found.items()} == stale_from("aks")
    assert "does not serve" in found["aks"]["because"]
    released.invoke("stop", "--yes", "--service", "aci")
    found = told(released)
    assert {step: one["state"] for step, one in found.items()} == stale_from("aci")
    assert "it was stopped" in found["aci"]["because"]
    lines = released.invoke("release").splitlines()
    assert [line.split()[0] for line in lines if line.split()[1:2] == ["fresh"]] == STEPS[: STEPS.index("aci")]
    assert set(states(released).values()) == {"fresh"}
    assert (served(released, "aci"), served(released, "aks")) == ("1", "1")
    assert versions_in_production(released) == ["1"]


def test_a_worker_that_died_is_replaced_by_its_service(released: Project) -> None:
    group = server(released, "aks")
    workers = children(group)
    os.kill(workers[0], signal.SIGKILL)
    eventually(lambda: len(children(group)) == 2 and workers[0] not in children(group))
    assert served(released) == "1"
    assert set(states(released).values()) == {"fresh"}


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123 - no file of a disk
        return [int(one) for one in file.read().split()]


@pytest.mark.slow
def test_an_image_that_is_gone_is_built_again(released: Project) -> None:
    image = record(released, "image.json")
    shutil.rmtree(image["location"])
    found = told(released)
    assert {step: one["state"] for step, one in found.items()} == stale_from("image")
    assert "no longer exists" in found["image"]["because"]
    released.invoke("release")
    assert record(released, "image.json")["digest"] == image["digest"]
    assert set(states(released).values()) == {"fresh"}


def test_a_record_of_another_chain_is_stale_and_is_refused(released: Project) -> None:
    path = released.root / "artifacts/local/run_id.json"
    before = path.read_bytes()
    released.invoke("train", "--force")
    found = told(released)
    assert {step: one["state"] for step, one in found.items()} == stale_from("evaluate") | {"train": "fresh"}
    assert "train produced a new run" in found["evaluate"]["because"]
    assert "evaluate is stale" in released.invoke("register", "--only", expect=3)
    path.write_bytes(before)
    assert set(states(released).values()) == {"fresh"}


def test_the_model_in_production_cannot_be_destroyed_alone(released: Project) -> None:
    assert "in production" in released.invoke("destroy", "--kind", "model", "--name", "1", "--yes", expect=4)


def test_an_image_that_serves_or_was_in_production_is_not_swept_away(released: Project) -> None:
    assert "Nothing to be removed" in released.invoke("destroy", "--kind", "image", "--yes")
    assert set(states(released).values()) == {"fresh"}


@pytest.mark.slow
def test_a_deleted_model_version_is_registered_anew_by_the_next_release(project: Project) -> None:
    project.invoke("release")
    with contextlib.closing(sqlite3.connect(project.root / ".workspace/workspace.db")) as database, database:
        database.execute("UPDATE models SET deleted_at = created_at")
    found = told(project)
    assert found["train"]["state"] == "fresh"
    assert {found[step]["state"] for step in from_on("register")} == {"stale"}
    assert "version 1" in found["evaluate"]["because"] + found["register"]["because"]
    project.invoke("release")
    assert record(project, "model.json")["version"] == 2, "a version is never given twice"
    assert served(project) == "2"
    assert versions_in_production(project) == ["2", "1"]


@pytest.mark.slow
def test_a_changed_helper_module_is_named_and_trained_with(project: Project) -> None:
    with changed(project, "model/helper.py", None, "SCALE = 1\n"):
        project.edit("model/train.py", "import joblib", "import helper\nimport joblib")
        project.edit("model/train.py", 'print(f"alpha', 'print(f"scale {helper.SCALE}, alpha')
        assert "scale 1" in project.invoke("train")
        (project.root / "model/helper.py").write_text("SCALE = 2\n")
        assert told(project)["train"]["because"] == "model/helper.py changed"
        assert "scale 2" in project.invoke("train")
        # The run of the old content is known and is not trained again.
        (project.root / "model/helper.py").write_text("SCALE = 1\n")
        assert "| scale" not in project.invoke("train")
    assert "model/helper.py was removed" in told(project)["train"]["because"]
