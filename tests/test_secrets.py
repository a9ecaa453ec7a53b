"""Secrets and variables of the owner's scripts: each reaches one process, and no record, log or argument."""

import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from lib.errors import SettingsError
from lib.redaction import Redactor
from lib.settings import load
from tests.support.project import Project, changed, error, record, states, told

TOML = "config/release.toml"
PASSWORD, TOKEN, NEW_TOKEN = "pass word/of+the?base", 'token "of" the=service', "another-token-of-the-service"
# Where each script prints what it received: the values in several forms, which must not be seen, and their digests.
SHOW = """
import base64, hashlib, os, urllib.parse
NAMES = "DB_PASSWORD", "API_TOKEN", "GREETING"
def show(where):
    for name in NAMES:
        value = os.environ.get(name, "")
        print(where, name, value, urllib.parse.quote(value), base64.b64encode(value.encode()).decode())
        print(where, name, "is", hashlib.sha256(value.encode()).hexdigest()[:12] if value else "missing")
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("secrets"))
    project.edit(TOML, "timeout_s = 600\n", 'timeout_s = 600\nsecrets = ["DB_PASSWORD"]\n')
    for service in ("aci", "aks"):
        own = '\nenv = { GREETING = "hello" }\nsecrets = ["API_TOKEN"]\nname ='
        text = (project.root / TOML).read_text()
        (project.root / TOML).write_text(re.sub(rf"(?m)(^\[services.{service}\].*)\nname =", rf"\1{own}", text))
    project.edit("model/train.py", "import argparse\n", f"{SHOW}\nimport argparse\n")
    project.edit("model/train.py", "def main() -> None:\n", 'def main() -> None:\n    show("model")\n')
    project.edit(
        "model/train.py", "def predict(", 'if __name__ != "__main__":\n    show("evaluation")\n\n\ndef predict('
    )
    project.edit("service/score.py", "import math\n", f"{SHOW}\nimport math\n")
    project.edit("service/score.py", "def init() -> None:\n", 'def init() -> None:\n    show("service")\n')
    yield project
    with contextlib.suppress(AssertionError):
        project.invoke("destroy", "--kind", "service", "--yes", "--production")


@pytest.fixture(scope="module")
def said(project: Project) -> str:
    """Release the project, and give what that printed."""
    set_secrets(project, DB_PASSWORD=PASSWORD, API_TOKEN=TOKEN)
    # As a person has them who exports them: no process may inherit them.
    return project.invoke("release", env={"DB_PASSWORD": PASSWORD, "API_TOKEN": TOKEN})


@pytest.fixture
def released(project: Project, said: str) -> Project:
    """Give the project after its release."""
    assert said
    return project


def set_secrets(project: Project, **values: str) -> None:
    (project.root / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in values.items()))
    (project.root / ".env").chmod(0o600)


def logs(project: Project, pattern: str) -> str:
    return "".join(path.read_text() for path in sorted((project.root / ".workspace").glob(pattern)))


def short(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:12]


def test_a_secret_that_is_not_set_is_reported_before_the_training(project: Project) -> None:
    message = error(project, "train", expect=1)
    for setting, name in (("train", "DB_PASSWORD"), ("services.aci", "API_TOKEN"), ("services.aks", "API_TOKEN")):
        assert f"{TOML}: {setting}.secrets: {name} is not set" in message
    assert "DB_PASSWORD is not set" in project.invoke("doctor", expect=2)
    assert not list(project.root.glob(".workspace/runs/*"))


def test_each_secret_reaches_one_script_and_is_written_nowhere(project: Project, said: str) -> None:
    training, services = logs(project, "runs/*/log.txt"), logs(project, "services/*/*/log.txt")
    evaluation = (project.root / "artifacts/local/interpreter.log").read_text()
    assert f"model DB_PASSWORD is {short(PASSWORD)}" in training
    assert f"model DB_PASSWORD is {short(PASSWORD)}" in said
    assert f"service API_TOKEN is {short(TOKEN)}" in services
    assert f"service GREETING is {short('hello')}" in services
    assert f"service API_TOKEN is {short(TOKEN)}" in evaluation  # the rehearsal
    for name, absent in (("model API_TOKEN", training), ("service DB_PASSWORD", services)):
        assert f"{name} is missing" in absent
    for name in ("DB_PASSWORD", "API_TOKEN", "GREETING"):
        assert f"evaluation {name} is missing" in evaluation
    command_lines = b"".join(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
    places = [path for path in project.root.rglob("*") if path.is_file() and path.name not in (".env", "API_TOKEN")]
    for value in (PASSWORD, TOKEN):
        for form in (value, quote(value), base64.b64encode(value.encode()).decode()):
            assert form not in said
            assert form.encode() not in command_lines
            assert [path for path in places if form.encode() in path.read_bytes()] == []
    assert set(states(project).values()) == {"fresh"}


def test_a_changed_variable_and_a_changed_secret_make_only_their_services_stale(released: Project) -> None:
    text = (released.root / TOML).read_text()
    head, _, tail = text.rpartition('"hello"')
    with changed(released, TOML, None, f'{head}"good day"{tail}'):
        stale = told(released)
        assert [stale[step]["state"] for step in ("train", "image", "aci", "aks")] == ["fresh"] * 3 + ["stale"]
        assert "services.aks.env changed" in stale["aks"]["because"]
        released.invoke("release")
        assert f"service GREETING is {short('good day')}" in logs(released, "services/diabetes/*/log.txt")
        set_secrets(released, DB_PASSWORD="another password", API_TOKEN=NEW_TOKEN)
        stale = told(released)
        assert [stale[step]["state"] for step in ("train", "image", "aci")] == ["fresh"] * 2 + ["stale"]
        assert "its secrets have changed" in stale["aci"]["because"]
        before = record(released, "aci_webservice.json")["inputs"]
        released.invoke("release")
        assert record(released, "aci_webservice.json")["inputs"] == before
        assert f"service API_TOKEN is {short(NEW_TOKEN)}" in logs(released, "services/diabetes/*/log.txt")
        assert [path.read_text() for path in released.root.rglob("API_TOKEN")] == [NEW_TOKEN] * 2


def test_services_start_again_with_their_secrets_and_stopped_ones_leave_none(released: Project) -> None:
    released.invoke("stop", "--yes")
    assert not list(released.root.rglob("API_TOKEN"))
    assert "serves version 1" in released.invoke("start")
    (released.root / ".env").write_text("")
    released.invoke("stop", "--yes")
    assert "diabetes-staging needs API_TOKEN" in error(released, "start", "--service", "aci", expect=2)
    set_secrets(released, DB_PASSWORD=PASSWORD, API_TOKEN=TOKEN)


def test_an_error_that_shows_a_secret_is_redacted(released: Project) -> None:
    wrong = "import os\nraise SystemExit('no login: postgres://me:' + os.environ['DB_PASSWORD'] + '@db')\n"
    with changed(released, "model/train.py", None, wrong):
        assert "postgres://me:***@db" in error(released, "train", expect=1)
        assert (
            "postgres://me:***@db" in json.loads((released.root / "artifacts/local/failed.json").read_text())["message"]
        )


def test_forms_of_a_secret_are_redacted_and_short_values_are_not() -> None:
    redact = Redactor(['a/b c"d', "abc", "first line\nsecond line"])
    assert redact('x a/b c"d x') == "x *** x"
    assert redact("https://u:a%2Fb%20c%22d@h a%2Fb+c%22d") == "https://u:***@h ***"
    assert redact(json.dumps({"key": 'a/b c"d'})) == '{"key": "***"}'
    assert redact("Basic " + base64.b64encode(b'a/b c"d').decode()).startswith("Basic ***")
    assert redact("abc: second line") == "abc: ***"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('secrets = ["VM_PASSWORD"]', "has VM_PASSWORD, which a release itself uses"),
        ('secrets = ["PYTHONPATH"]', "has PYTHONPATH, which a release itself uses"),
        ('secrets = ["my-password"]', "is not a list, each item the name of a variable, in A-Z, 0-9 and _"),
    ],
)
def test_names_with_another_meaning_are_refused(project: Project, line: str, problem: str) -> None:
    wrong = changed(project, TOML, 'secrets = ["DB_PASSWORD"]', line)
    with wrong, pytest.raises(SettingsError, match=re.escape(problem)):
        load(project.root)
