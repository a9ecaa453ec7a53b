"""`invoke doctor`: each check is seen failing, with its fix and the exit code; nothing is changed by looking."""

import json
import shutil
import socket
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.project import ROOT, Env, Project, changed, clean_environment

TOML = "config/release.toml"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Give a project in a repository, with a commit and an .env, in which all is well."""
    made = Project(tmp_path_factory.mktemp("clone"))
    (made.root / ".env").write_text("PLATFORM=local\n")
    (made.root / ".env").chmod(0o600)
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "all"]):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *who, *command], cwd=made.root, check=True)
    yield made
    made.close()


def findings(project: Project, expect: int = 2, env: Env | None = None) -> dict[str, list[dict[str, Any]]]:
    """Return what doctor finds, by state."""
    told = project.invoke("doctor", "--format", "json", expect=expect, env=env)
    found, _ = json.JSONDecoder().raw_decode(told)  # what is said on stderr comes behind it
    assert all(bool(one["fix"]) == (one["state"] == "fix") for one in found)
    return {state: [one for one in found if one["state"] == state] for state in ("ok", "hint", "fix")}


def only_fix(project: Project, env: Env | None = None) -> str:
    """Return the one thing that is to be put right."""
    (one,) = findings(project, env=env)["fix"]
    return f"{one['what']}: {one['fix']}"


def test_where_all_is_well_it_ends_with_0_and_says_what_it_looked_at(clone: Project) -> None:
    found = findings(clone, expect=0)
    assert found["fix"] == []
    looked_at = " ".join(one["what"] for one in found["ok"])
    for part in ("Python", "packages", "uv", ".env", "git", "disk", "settings", f"port {clone.ports[0]}"):
        assert part in looked_at


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        (".gitignore", ".env\n", "", ".env: git does not ignore it: add the line .env to .gitignore"),
        ("config/conda_dependencies.yml", "joblib==1.5.3", "-e ./mine", "-e cannot be used here"),
        (TOML, "floor = 4000.0", "flor = 1.0", "gate.flor is unknown: did you mean floor?"),
        ("config/config.json", "{", "{{", "config/config.json cannot be read"),
        (TOML, "timeout_s = 600", "timeout_s = -1", "timeout_s"),
        (
            "service/score.py",
            "def init()",
            "def begin()",
            "it must define init: see docs/own-model.md",
        ),
        ("model/train.py", "def predict(", "def predict(:", "SyntaxError: invalid syntax"),
        ("model/train.py", '"--seed"', '"--start"', "model/train.py has no argument --seed, only --alpha, --data, "),
        (
            "model/train.py",
            'parser.add_argument("--alpha"',
            'parser.add_argument("-r", "--rate", required=True); parser.add_argument("--alpha"',
            "model/train.py, line 84: --rate is required, and no setting gives it: add it to [train.parameters]",
        ),
        (
            TOML,
            'holdout = ""',
            'holdout = "no.csv"',
            "no.csv cannot be read: No such file",
        ),
        (".env", "PLATFORM=local", "PLATFORM=moon", "moon"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value and "\n" not in value else "",
)
def test_each_check_fails_with_its_fix(clone: Project, name: str, old: str, new: str, said: str) -> None:
    with changed(clone, name, old, new):
        assert said in only_fix(clone)


def test_packages_that_differ_are_named(clone: Project) -> None:
    with changed(clone, "requirements.txt", "joblib==1.5.3", "joblib==1.5.2"):
        found = findings(clone)["fix"]
    assert ["joblib" in one["fix"] for one in found] == [True]


@pytest.mark.parametrize("name", ["requirements.txt", "config/conda_dependencies.yml", "config/config.json"])
def test_a_file_that_is_missing_is_found(clone: Project, name: str) -> None:
    (clone.root / name).rename(clone.root / "aside")
    try:
        assert "is missing" in only_fix(clone)
    finally:
        (clone.root / "aside").rename(clone.root / name)


def test_a_dotenv_that_others_can_read_is_found(clone: Project) -> None:
    (clone.root / ".env").chmod(0o644)
    try:
        assert "chmod 600 .env" in only_fix(clone)
    finally:
        (clone.root / ".env").chmod(0o600)


def test_a_dotenv_that_is_in_git_is_found(clone: Project) -> None:
    subprocess.run(["git", "add", "--force", ".env"], cwd=clone.root, check=True)
    try:
        assert "git rm --cached .env" in only_fix(clone)
    finally:
        subprocess.run(["git", "rm", "--quiet", "--cached", ".env"], cwd=clone.root, check=True)


def test_a_port_that_someone_else_uses_is_found(clone: Project) -> None:
    with socket.create_server(("127.0.0.1", clone.ports[1])):
        assert f"port {clone.ports[1]}: another program listens there" in only_fix(clone)


def test_a_workspace_that_is_damaged_is_found(clone: Project) -> None:
    with changed(clone, ".workspace/workspace.db", None, "this is no database" * 100):
        assert "workspace.db cannot be opened" in only_fix(clone)


def test_an_environment_without_uv_is_found_and_the_projects_own_is_known(clone: Project) -> None:
    venv.create(clone.root / ".venv", symlinks=True)
    (clone.root / ".gitignore").write_text((ROOT / ".gitignore").read_text())
    command: list[str | Path] = [clone.root / ".venv/bin/python", "-m", "invoke", "doctor"]
    packages = {"PYTHONPATH": sysconfig.get_path("purelib")}
    try:
        done = subprocess.run(
            command, cwd=clone.root, env=clean_environment() | packages, capture_output=True, text=True, check=False
        )
    finally:
        shutil.rmtree(clone.root / ".venv")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "uv does not start (FileNotFoundError): run `make env`" in done.stdout
    assert "ok    environment .venv" in done.stdout
    assert "1 to fix" in done.stderr


def test_all_comes_at_once_for_people_too(clone: Project) -> None:
    with (
        changed(clone, TOML, "floor = 4000.0", "flor = 1"),
        changed(clone, "service/score.py", "def init()", "def x()"),
    ):
        told = clone.invoke("doctor", expect=2)
    assert "fix   service/score.py: it must define init" in told
    assert "fix   settings: config/release.toml, line 26: gate.flor is unknown: did you mean floor?" in told
    assert told.rstrip().endswith("2 to fix")


def test_hints_are_no_failure(project: Project) -> None:
    project.edit("config/conda_dependencies.yml", "joblib==1.5.3", "joblib==1.5.2")
    subprocess.run(["git", "init", "--quiet"], cwd=project.root, check=True)
    hints = {one["what"]: one["hint"] for one in findings(project, expect=0)["hint"]}
    assert hints.pop(f"environment {sys.prefix}") == "not the project's: `make env` creates that in .venv"
    assert "invoke setup` creates it" in hints.pop(".env")
    assert "there is no commit" in hints.pop("git")
    assert "the next task writes it" in hints.pop("config/conda_dependencies.yml")
    assert hints == {}


def test_looking_changes_nothing(project: Project) -> None:
    before = files(project.root)
    project.invoke("doctor", env={"PYTHONDONTWRITEBYTECODE": "1"})
    assert files(project.root) == before


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def test_an_unknown_format_is_told(clone: Project) -> None:
    assert "unknown value xml: choose one of lines, json" in clone.invoke("doctor", "--format", "xml", expect=2)
