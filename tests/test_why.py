"""`invoke why` explains a step down to the file and the setting, and so does `invoke status` in a line."""

import contextlib
import json
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.project import Project, changed, error, record, told

pytestmark = pytest.mark.quick

TOML = "config/release.toml"


def git(project: Project, *arguments: str) -> str:
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(command, cwd=project.root, check=True, capture_output=True, text=True).stdout.strip()


def into_git(project: Project) -> None:
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "The first model")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Give a project in git whose first model is trained and evaluated; for tests that leave it as they find it."""
    made = Project(tmp_path_factory.mktemp("evaluated"))
    into_git(made)
    made.invoke("evaluate")
    yield made
    made.close()


def why(project: Project, step: str) -> dict[str, Any]:
    found = json.loads(project.invoke("why", step, "--format", "json"))
    return {**found, "steps": {one["step"]: one for one in found["steps"]}}


def test_a_fresh_step_says_what_keeps_it_fresh_and_since_when(evaluated: Project) -> None:
    shown = evaluated.invoke("why", "evaluate")
    assert shown.startswith("evaluate is fresh\n")
    made_at = json.loads((evaluated.root / "artifacts/local/evaluation.json").read_bytes())["created_at"]
    assert f"written {made_at} from commit {git(evaluated, 'rev-parse', 'HEAD')[:12]}" in shown
    assert "gate.floor                 4000.0" in shown
    assert "run_id.json of train, which is fresh" in shown
    assert "would run" not in shown


def test_every_changed_file_and_setting_is_told_with_its_commit_also_behind_a_stale_step(evaluated: Project) -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(changed(evaluated, "model/train.py", "Fit the regression.", "Fit it."))
        git(evaluated, "commit", "--quiet", "--all", "--message", "Say it shorter")
        for name, old, new in (
            ("config/conda_dependencies.yml", "pip:", "pip:  # pinned"),
            ("model/helper.py", None, "SCALE = 1\n"),
            (TOML, "alpha = 0.05", "alpha = 0.06"),
            (TOML, "seed = 42\n", ""),
            (TOML, "floor = 4000.0", "floor = 3999.0"),
        ):
            stack.enter_context(changed(evaluated, name, old, new))
        shown = evaluated.invoke("why", "evaluate")
        found = why(evaluated, "evaluate")
        in_a_line = told(evaluated)
    git(evaluated, "reset", "--quiet", "HEAD~1")
    for line in (
        "evaluate is stale",
        "model/helper.py is new\n            not committed",
        "config/conda_dependencies.yml changed\n            not committed",
        "train.parameters.alpha changed from 0.05 to 0.06",
        "train.parameters.seed was removed",
        "evaluate  gate.floor changed from 4000.0 to 3999.0",
        "`invoke evaluate` would run train, evaluate\n",
    ):
        assert line in shown
    assert found["runs"] == ["train", "evaluate"]
    assert len(found["steps"]["train"]["changes"]) == 5
    assert [line.partition(" ")[2][11:] for line in found["steps"]["train"]["origins"]["model/train.py"]] == [
        "Say it shorter"
    ]
    assert {"name": "train.parameters.alpha", "before": "0.05", "now": "0.06"} in found["steps"]["train"]["changes"]
    assert in_a_line["train"]["because"].endswith("and 2 more")
    assert in_a_line["evaluate"]["because"] == "train is stale; gate.floor changed from 4000.0 to 3999.0"


def test_data_outside_of_the_repository_hides_no_commit_of_other_files(evaluated: Project) -> None:
    with (
        changed(evaluated, "model/train.py", "Fit the regression.", "Fit it."),
        changed(evaluated, TOML, 'data = ""', f'data = "{evaluated.root.parent / "elsewhere.csv"}"'),
    ):
        found = why(evaluated, "train")["steps"]["train"]
    assert found["origins"] == {"model/train.py": ["not committed"]}
    assert any(change["name"].endswith("elsewhere.csv") for change in found["changes"])


def test_a_commit_is_no_tag_and_is_not_whole_where_a_file_is_not_in_it(project: Project) -> None:
    into_git(project)
    git(project, "tag", "--annotate", "v1", "--message", "The first one")
    (project.root / "notes.txt").write_text("what a release is not made of")
    project.invoke("train")
    commit = git(project, "rev-parse", "HEAD")
    assert record(project, "run_id.json")["commit"] == commit
    (project.root / "model/helper.py").write_text("SCALE = 1\n")
    project.invoke("train")
    assert record(project, "run_id.json")["commit"] == f"{commit}-dirty"


def test_status_is_one_line_for_a_step_also_where_a_record_is_not_whole(evaluated: Project) -> None:
    with changed(evaluated, "artifacts/local/evaluation.json", None, "{"):
        rows = evaluated.invoke("status").splitlines()[2:10]
        shown = evaluated.invoke("why", "register")
    assert [row.split()[:2] for row in rows[:3]] == [
        ["train", "fresh"],
        ["evaluate", "failed"],
        ["register", "missing"],
    ]
    assert "evaluation.json is not a complete record" in shown
    assert "`invoke evaluate --force` replaces it" in shown
    assert "would run" not in shown


def test_a_run_that_the_platform_has_no_more_is_told(evaluated: Project) -> None:
    with contextlib.closing(sqlite3.connect(evaluated.root / ".workspace/workspace.db")) as database:
        with database:
            database.execute("UPDATE runs SET status = 'Canceled'")
        shown = evaluated.invoke("why", "evaluate")
        with database:
            database.execute("UPDATE runs SET status = 'Completed'")
    assert "train     run diabetes-" in shown
    assert "is not in the workspace" in shown
    assert "evaluate  train is stale" in shown


def test_a_record_of_another_chain_is_named(evaluated: Project) -> None:
    path = evaluated.root / "artifacts/local/run_id.json"
    with changed(evaluated, "artifacts/local/run_id.json", None, path.read_text() + "\n"):
        told_all = why(evaluated, "evaluate")["steps"]["evaluate"]
        assert told_all["reasons"] == ["train produced a new run"]
        assert "evaluate  train produced a new run" in evaluated.invoke("why", "evaluate")


def test_a_failed_step_tells_all_of_its_message_and_when(evaluated: Project) -> None:
    with changed(
        evaluated,
        "model/train.py",
        "    model = fit(rows.data, rows.target, args.alpha)",
        "    raise RuntimeError('no data')",
    ):
        evaluated.invoke("train", expect=1)
        shown = evaluated.invoke("why", "train")
    (evaluated.root / "artifacts/local/failed.json").unlink()
    assert shown.startswith("train is failed\n")
    assert "no data" in shown
    assert "model/train.py changed" in shown
    assert "`invoke train` would run train" in shown


def test_a_held_step_says_what_the_gate_said(evaluated: Project) -> None:
    records = {path: path.read_bytes() for path in (evaluated.root / "artifacts/local").glob("*.json")}
    with changed(evaluated, TOML, "floor = 4000.0", "floor = 2000.0"):
        evaluated.invoke("evaluate")
        shown = evaluated.invoke("why", "aks")
    for path, content in records.items():
        path.write_bytes(content)
    assert shown.startswith("aks is held\n")
    assert "hold: mse 2866.31 is worse than the floor of 2000" in shown
    assert "Nothing would run" in shown


def test_an_unknown_step_is_told_with_the_known_ones(evaluated: Project) -> None:
    said = error(evaluated, "why", "deploy", expect=2)
    assert "unknown step deploy: choose one of train, evaluate, register, image, aci, aci_test, aks, test" in said


def test_outside_of_git_the_changes_are_told_all_the_same(evaluated: Project, tmp_path: Path) -> None:
    (evaluated.root / ".git").rename(tmp_path / "git")
    with changed(evaluated, "model/train.py", "Fit the regression.", "Fit it."):
        shown = evaluated.invoke("why", "train")
    (tmp_path / "git").rename(evaluated.root / ".git")
    assert "model/train.py changed\n          run_id.json was written" in shown
