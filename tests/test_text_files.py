"""Files that people edit, in the encodings and with the slips that editors and shells leave; and closed pipes."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lib import settings
from lib.errors import SettingsError
from lib.settings import conda
from lib.settings.editing import SettingsFiles
from tests.support.project import ROOT, Project, clean_environment, error

LATIN_1, UTF_8_MARK = b"# gr\xfc\xdfe\n", b"\xef\xbb\xbf"
EDITED = ["config/release.toml", "config/config.json", "config/conda_dependencies.yml", ".env"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in settings.Env.__struct_fields__:
        monkeypatch.delenv(name.upper(), raising=False)
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / ".env").write_text("PLATFORM=local\n")
    return tmp_path


def load(root: Path) -> None:
    """Read all files that people edit."""
    settings.load(root)
    conda.read(root / conda.PATH)


@pytest.mark.parametrize("name", EDITED)
def test_a_byte_order_mark_is_no_part_of_a_file(root: Path, name: str) -> None:
    path = root / name
    path.write_bytes(UTF_8_MARK + path.read_bytes())
    load(root)


@pytest.mark.parametrize("name", EDITED)
def test_another_encoding_is_named_with_the_file(root: Path, name: str) -> None:
    path, text = root / name, (root / name).read_bytes()
    path.write_bytes(text + LATIN_1)
    with pytest.raises(SettingsError, match=rf"{name}, line \d+: not UTF-8 text, probably Latin-1"):
        load(root)
    path.write_bytes(text.decode().encode("utf-16"))
    with pytest.raises(SettingsError, match=f"{name} is not UTF-8 text, probably UTF-16"):
        load(root)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("PLATFORM: azureml\n", 1),
        ("# a comment\n\nPLATFORM azureml\n", 3),
        ("PLATFORM=local\nset VM_HOST=machine\n", 2),
        ("PLATFORM=local\nVM_HOST\n", 2),
        (f'SCORING_KEY_PRIMARY={"a" * 40}\nSCORING_KEY_SECONDARY="{"b" * 40}\n', 2),
        ("PLATFORM='local'x\n", 1),
    ],
)
def test_a_line_of_dotenv_that_cannot_be_read_is_refused_by_its_number(root: Path, text: str, line: int) -> None:
    (root / ".env").write_text(text)
    with pytest.raises(SettingsError, match=rf"^\.env, line {line}: this is not NAME=VALUE") as raised:
        settings.load(root)
    assert "a" * 40 not in str(raised.value)
    with pytest.raises(SettingsError, match=rf"line {line}"):
        SettingsFiles(root)


@pytest.mark.parametrize(
    "text", ["export PLATFORM=local\n", "PLATFORM = 'local'  # here\r\n", "\n# PLATFORM: azureml\n"]
)
def test_what_shells_and_editors_write_is_read(root: Path, text: str) -> None:
    (root / ".env").write_text(text)
    assert settings.load(root).env.platform == "local"


def test_every_task_reports_such_a_file_in_a_few_lines(project: Project) -> None:
    (project.root / ".env").write_bytes(LATIN_1 + b"PLATFORM=local\n")
    (project.root / ".env").chmod(0o600)
    assert ".env, line 1: not UTF-8 text" in error(project, "status", expect=2)
    assert ".env, line 1: not UTF-8 text" in project.invoke("doctor", expect=2)
    assert ".env, line 1: not UTF-8 text" in project.invoke("setup", "--yes", expect=2)


def test_a_closed_pipe_ends_the_output_and_not_the_task(project: Project) -> None:
    command = [sys.executable, "-u", "-m", "invoke", "train"]
    with subprocess.Popen(
        command, cwd=project.root, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
    assert (project.root / "artifacts/local/run_id.json").exists()


def test_a_closed_pipe_ends_help_without_a_traceback(project: Project) -> None:
    command = f"{sys.executable} -u -m invoke --help release | head -1"
    process = subprocess.run(["sh", "-c", command], cwd=project.root, capture_output=True, text=True, check=False)
    assert process.stderr == ""


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"NO_COLOR": "1", "TERM": "xterm"}])
def test_a_terminal_that_wants_no_colours_gets_none(project: Project, environment: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "invoke", "status"]
    with (
        os.fdopen(ours, "rb", buffering=0) as terminal,
        subprocess.Popen(
            command, cwd=project.root, env=clean_environment() | environment, stdin=theirs, stdout=theirs, stderr=theirs
        ),
    ):
        os.close(theirs)
        content = b""
        try:
            while part := terminal.read(1 << 16):
                content += part
        except OSError:
            pass  # how a terminal says that nobody writes to it any more
    assert b"missing" in content
    assert b"\033" not in content


def test_what_the_portal_downloads_needs_no_location(root: Path) -> None:
    parts = {"subscription_id": "0", "resource_group": "release", "workspace_name": "release"}
    (root / "config/config.json").write_text(json.dumps(parts))
    for platform in ("local", "azureml"):
        (root / ".env").write_text(f"PLATFORM={platform}\n")
        assert settings.load(root).workspace.location == ""
    (root / "config/config.json").write_text('{\n"resource_group": "release"\n}')
    with pytest.raises(SettingsError, match=r"config/config.json: subscription_id is missing"):
        settings.load(root)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "workers = 2",
            "workers = true",
            "line 53: services.aks.local.workers true is not a whole number of 1 or more",
        ),
        ("port = 8501", "port = 80", "services.aci.local.port 80 is not a whole number from 1024 to 65535"),
        ("timeout_s = 600", "timeout_s = 0", "train.timeout_s 0 is not a number above 0"),
        ("create = []", 'create = ["aci"]', 'azureml.create ["aci"] is not a list, each item one of aks, cluster, '),
        ('vm = "training-vm"', 'vm = "x"', 'azureml.vm "x" is not 3 to 16 letters, digits and -'),
        ("[limits]\n", "[limits]\ntest_row = 1\n", "limits.test_row is unknown: did you mean test_rows?"),
    ],
)
def test_problems_of_settings_are_in_words_with_their_line(root: Path, old: str, new: str, problem: str) -> None:
    path = root / "config/release.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(SettingsError) as raised:
        settings.load(root)
    assert re.match(r"config/release.toml, line \d+: ", str(raised.value))
    assert problem in str(raised.value)
