"""The command line: every task says what it does, works from any folder, and tells what is wrong in a few lines."""

import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from invoke.collection import Collection
from invoke.tasks import Task

from lib.terminal import usage
from tests.support.project import (
    ROOT,
    Project,
    error,
    eventually,
    key,
    processes,
    record,
    served,
    server,
    states,
    versions_in_production,
)

TASKS: dict[str, "Task[Callable[..., None]]"] = Collection.from_module(importlib.import_module("tasks")).tasks


def rows_file(project: Project, folder: Path) -> Path:
    """Write the rows of the image's record to a file for `invoke score`."""
    path = folder / "rows.json"
    path.write_text(json.dumps({"data": record(project, "image.json")["rows"]}))
    return path


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_and_every_flag_is_explained(name: str) -> None:
    task = TASKS[name]
    assert (task.__doc__ or "").strip().endswith(".")
    for argument in task.get_arguments():
        assert argument.help, f"--{argument.name} has no help"


def test_every_task_is_listed_with_its_first_line(project: Project) -> None:
    told = json.loads(project.invoke("--list", "--list-format", "json"))
    assert {task["name"] for task in told["tasks"]} == set(TASKS)
    assert all(task["help"] for task in told["tasks"])


def test_invoke_alone_prints_every_task_by_purpose_in_80_columns(project: Project) -> None:
    shown = project.invoke()
    names = re.findall(r"^  (\w+) ", shown, re.MULTILINE)
    assert sorted(names) == sorted(TASKS)
    assert max(map(len, shown.splitlines())) < 80


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_supports_help_behind_its_name(project: Project, name: str) -> None:
    assert f"Usage: inv[oke] [--core-opts] {name}" in project.invoke(name, "--help")


@pytest.mark.parametrize("task", ["history", "status"])
def test_tables_fit_80_columns_of_a_terminal(released: Project, task: str) -> None:
    with released.on_a_terminal(task, env={"COLUMNS": "80"}) as terminal:
        terminal.end()
    assert max(map(len, re.sub(r"\033\[\d*m", "", terminal.shown).splitlines())) <= 80


def test_a_missing_engine_is_reported_before_the_training(project: Project) -> None:
    project.edit("config/release.toml", 'engine = "process"', 'engine = "container"')
    env = {"DOCKER_HOST": f"unix://{project.root}/none.sock"}
    assert "no container engine answers" in error(project, "release", expect=1, env=env)
    assert not (project.root / "artifacts/local/run_id.json").exists()


def test_windows_is_told_in_one_line() -> None:
    assert usage.unsupported("win32").startswith("Windows runs this project in WSL only")
    assert usage.unsupported("linux") == usage.unsupported("darwin") == ""


def test_a_question_is_asked_again_until_the_answer_is_yes_or_no(released: Project) -> None:
    with released.on_a_terminal("stop") as terminal:
        terminal.expect_prompt(r"Continue\? \[y/N\] ")
        terminal.type("maybe\n")
        terminal.expect(r"'maybe' is neither y \(yes\) nor n \(no\)")
        terminal.expect_prompt(r"(?s)neither.*Continue\? \[y/N\] ")
        terminal.type("No\n")
        assert terminal.end() == 0
    assert set(states(released).values()) == {"fresh"}


def test_the_tables_of_tasks_name_every_task() -> None:
    text = (ROOT / "docs/tasks.md").read_text()
    assert not [name for name in TASKS if f"`{name}" not in text and f"`invoke {name}" not in text]


def test_listing_the_tasks_imports_nothing_of_the_release(project: Project) -> None:
    told = project.invoke("--list", env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert "invoke.tasks" in told
    imported = set(re.findall(r"\| +((?:lib|sqlite3)\b\S*)", told))
    assert imported == {"lib", "lib.console", "lib.terminal", "lib.terminal.output", "lib.terminal.usage"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status"], "fresh"),
        (["history"], "checks"),
        (["workspace"], "1 runs, 1 models, 2 services"),
        (["keys"], "secondary"),
        (["test", "--only"], "fresh"),
        (["score", "rows.json"], '{"result":['),
        (["score", "rows.json", "--service", "aci"], '{"result":['),
        (["score", "rows.json", "--model", "1"], '{"result":['),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_tasks_work_from_any_folder(released: Project, arguments: list[str], said: str) -> None:
    subfolder = rows_file(released, released.root / "artifacts").parent
    assert said in released.invoke(*arguments, cwd=subfolder)


def test_a_service_and_a_model_score_a_file_as_the_registered_model(released: Project, tmp_path: Path) -> None:
    file, expected = str(rows_file(released, tmp_path)), record(released, "image.json")["predictions"]
    assert json.loads(released.invoke("score", file))["result"] == pytest.approx(expected)
    assert json.loads(released.invoke("score", file, "--model", "1"))["result"] == pytest.approx(expected)


@pytest.mark.parametrize("flags", [[], ["--model", "1"]], ids=["service", "model"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "rows.json"),
        ("{", "not JSON"),
        ('{"data": [[1, 2]]}', "row 0 must be a list of 10 numbers"),
        (f'{{"data": [{[1e308] * 10}]}}', "not a finite number"),
    ],
)
def test_a_file_that_cannot_be_scored_is_told(
    released: Project, tmp_path: Path, flags: list[str], content: str | None, said: str
) -> None:
    file = tmp_path / "rows.json"
    if content is not None:
        file.write_text(content)
    told = released.invoke("score", str(file), *flags, expect=1)
    assert said in told
    assert "Traceback" not in told
    assert len(told.strip().splitlines()) <= 3


def test_a_test_deletes_nothing(released: Project) -> None:
    running = server(released, "aci"), server(released, "aks")
    released.invoke("test", "--service", "aci", "--force")
    released.invoke("release")
    assert (server(released, "aci"), server(released, "aks")) == running
    assert set(states(released).values()) == {"fresh"}
    assert versions_in_production(released) == ["1"]


@pytest.mark.parametrize("task", ["stop", "destroy"])
def test_what_removes_shows_its_plan_and_does_nothing_unasked(released: Project, task: str) -> None:
    told = released.invoke(task, expect=4)
    assert "service diabetes-staging" in told
    assert "there is no terminal to ask" in told
    assert set(states(released).values()) == {"fresh"}


@pytest.mark.parametrize(("kind", "name"), [("moon", ""), ("image", "x")])
def test_what_is_not_there_cannot_be_removed(released: Project, kind: str, name: str) -> None:
    told = released.invoke("destroy", "--kind", kind, "--name", name, "--yes", expect=2 if kind == "moon" else 0)
    assert "unknown kind moon" in told if kind == "moon" else "Nothing to be removed" in told


@pytest.mark.slow
def test_a_new_key_is_valid_although_the_model_is_held_and_everything_can_be_removed(project: Project) -> None:
    project.invoke("release")
    old = key(project)
    project.edit("config/release.toml", "alpha = 0.05", "alpha = 0.5")
    project.invoke("release")  # the gate holds this model
    assert "diabetes now accepts the new primary key" in project.invoke("keys", "--new", "primary")
    assert "choose one of primary, secondary" in error(project, "keys", "--new", "both", expect=2)
    key.cache_clear()
    assert key(project) != old
    assert served(project) == "1"
    told = project.invoke("destroy", "--yes", "--production")
    assert all(part in told for part in ("service diabetes:", "image ", "model 1:", "workspace "))
    assert not (project.root / ".workspace").exists()
    eventually(lambda: not processes(project))
    assert "fresh" not in states(project).values()


def test_check_runs_its_commands_in_the_project_and_hands_their_exit_code_on(project: Project) -> None:
    shutil.copy(ROOT / "pyproject.toml", project.root)
    (project.root / "lib/release/graph.py").write_text("import  os")
    told = project.invoke("check", cwd=project.root / "model", expect=1)
    assert "$ ruff check" in told
    assert "lib/release/graph.py" in told
    assert "mypy" not in told


@pytest.mark.slow
def test_bench_prints_a_table_of_ratios() -> None:
    command = [sys.executable, "-m", "invoke", "bench", "--only", "list", "--rounds", "1"]
    done = subprocess.run(command, cwd=ROOT / "lib", check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "invoke --list / a trivial tasks.py" in done.stdout


def test_the_release_itself_is_in_git() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no repository here")
    folders = ["lib/release/graph.py", "lib/platforms/local/store.py", "model/train.py", "service/score.py"]
    ignored = subprocess.run(["git", "check-ignore", *folders], cwd=ROOT, check=False, capture_output=True, text=True)
    assert ignored.stdout == ""
    assert all((ROOT / name).is_file() for name in folders)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("relaese", "unknown task relaese: did you mean release?\nChoose one of aci, "),
        ("--help relaese", "unknown task relaese: did you mean release?"),
        ("release --forse", "unknown option --forse of release: did you mean --force?\nChoose one of --dirty, --force"),
        ("stop --servce=aks", "unknown option --servce of stop: did you mean --service?"),
        ("why", "'why' did not receive required positional arguments: 'step'\n`invoke --help why` explains it"),
        ("score rows.json --model one", "a flag needs a number"),
    ],
)
def test_a_mistyped_command_line_exits_with_2_and_says_what_was_meant(
    project: Project, arguments: str, said: str
) -> None:
    command = [sys.executable, "-m", "invoke", *arguments.split()]
    process = subprocess.run(command, cwd=project.root, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert f"Error: {said}" in process.stderr or said in process.stderr
    assert len(process.stderr.splitlines()) <= 3


def test_a_right_command_line_is_left_to_invoke() -> None:
    module = importlib.import_module("tasks")
    for name in TASKS:
        assert usage.check(["--help", name], module) == usage.check([name, "--help"], module) == ""
    assert usage.check(["--complete", "--", "invoke relea"], module) == ""
