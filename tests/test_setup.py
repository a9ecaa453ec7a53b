"""The first hour: what `invoke setup` asks on a terminal, where it writes the answers, and what it leaves alone."""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from lib.errors import SettingsError
from lib.settings.editing import SettingsFiles, with_entry, with_variable
from lib.settings.questions import Setting
from tests.support.project import ROOT, Env, Project
from tests.support.terminal import INTERRUPT, Terminal

END_OF_INPUT = "\x04"
SUBSCRIPTION, CLIENT, TENANT = (f"{number}2345678-1234-4123-8123-123456789abc" for number in (1, 2, 3))
SECRET = "it's #1 \\ secret"
WRONG = {"VM_SSH_PORT": "ssh"}  # so that the checks end with the settings, before they would reach out to Azure
# The Azure CLI as far as setup asks it, signed in where its folder says so.
AZ = """#!/bin/sh
[ "$*" = "account show --output json" ] && [ -e "$(dirname "$0")/account.json" ] || exit 1
cat "$(dirname "$0")/account.json"
"""


class Home:
    """A project in a new repository, and a home of its own with the Azure CLI in it."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.root = project.root
        self.home = project.root.parent / f"{project.root.name}-home"
        self.home.mkdir()
        (self.home / "az").write_text(AZ)
        (self.home / "az").chmod(0o755)
        shutil.copy(ROOT / ".pre-commit-config.yaml", self.root)
        (self.root / ".venv").symlink_to(sys.prefix)
        self.git("init", "--quiet")
        self.environment = {
            "HOME": str(self.home),
            "PATH": f"{self.home}{os.pathsep}{os.environ['PATH']}",
        }

    def git(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self.run(shlex.join(["git", *arguments]))

    def run(self, command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command as in a shell in which the project's environment is active."""
        who = {"GIT_AUTHOR_NAME": "a", "GIT_COMMITTER_NAME": "a", "EMAIL": "a@example.org"}
        path = f"{self.root}/.venv/bin{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | who | {"PATH": path}
        return subprocess.run(
            ["/bin/sh", "-c", command], cwd=self.root, env=environment, capture_output=True, text=True, check=False
        )

    def setup(self, env: Env | None = None) -> AbstractContextManager[Terminal]:
        return self.project.on_a_terminal("setup", env=self.environment | (env or {}))

    def text(self, name: str) -> str:
        return (self.root / name).read_bytes().decode()

    def files(self) -> dict[str, bytes]:
        """Return everything in the project and in the home but what Python and git keep for themselves."""
        found = [path for folder in (self.root, self.home) for path in folder.rglob("*") if path.is_file()]
        return {
            str(path): path.read_bytes()
            for path in found
            if not {"__pycache__", ".venv", ".cache", "objects", "index"} & set(path.parts)
        }


@pytest.fixture
def newcomer(project: Project) -> Iterator[Home]:
    yield Home(project)
    (project.root / ".env").unlink(missing_ok=True)  # nothing was started on Azure that would have to be stopped


def answer(terminal: Terminal, *dialogue: tuple[str, str]) -> None:
    """Wait for each prompt in turn, and type what is said to it."""
    for prompt, typed in dialogue:
        terminal.expect_prompt(prompt)
        terminal.shown = ""
        terminal.type(typed)


# Without anybody to ask


def test_without_a_terminal_it_makes_dotenv_for_its_owner_alone_and_finds_nothing_wrong(newcomer: Home) -> None:
    told = newcomer.project.invoke("setup", env=newcomer.environment)
    assert "Written: .env" in told
    assert "Ready: `invoke release`" in told
    assert stat.S_IMODE((newcomer.root / ".env").stat().st_mode) == 0o600
    assert newcomer.text(".env") == newcomer.text(".env.example")


def test_with_yes_it_asks_nothing_on_a_terminal(newcomer: Home) -> None:
    with newcomer.project.on_a_terminal("setup", "--yes", env=newcomer.environment) as terminal:
        assert terminal.end() == 0, terminal.shown
    assert "[" not in terminal.shown.replace("\033[", "")
    assert newcomer.text(".env") == newcomer.text(".env.example")


def test_what_is_set_stays_as_it_is_byte_for_byte(newcomer: Home) -> None:
    (newcomer.root / ".env").write_text("VM_HOST=\nPLATFORM=local  # mine")
    (newcomer.root / ".env").chmod(0o600)
    before = newcomer.files()
    assert "Ready" in newcomer.project.invoke("setup", env=newcomer.environment)
    with newcomer.setup() as terminal:
        assert terminal.end() == 0, terminal.shown
    assert newcomer.files() == before


def test_a_file_that_cannot_be_read_is_told_with_all_else_and_left_alone(newcomer: Home) -> None:
    newcomer.project.edit("config/config.json", "{", "{{")
    before = newcomer.files()
    with newcomer.setup() as terminal:
        assert terminal.end() == 2
    assert "config/config.json cannot be read" in terminal.shown
    assert "uv" in terminal.shown
    assert newcomer.files() == before


# This machine


def test_at_home_it_asks_for_the_platform_and_for_another_machine(newcomer: Home) -> None:
    with newcomer.setup() as terminal:
        answer(
            terminal,
            (r"Where releases run.*\[local\]: ", "moon\n"),
            (r"'moon' must be one of local, azureml\n.*\[local\]: ", "\n"),
            (r"train on.*\(Enter for none\): ", "ada@my vm\n"),
            (r"must be an address such as .*\n.*: ", "ada@vm.example.org:65558\n"),
            (r"'65558' must be a port from 1 to 65535\n.*: ", "ada@vm.example.org:2222\n"),
        )
        terminal.end()
    changed = dict(line.split("=") for line in newcomer.text(".env").splitlines() if line[:1] not in ("", "#"))
    assert changed == {"PLATFORM": "local", "VM_HOST": "vm.example.org", "VM_USER": "ada", "VM_SSH_PORT": "2222"}
    assert len(newcomer.text(".env").splitlines()) == len(newcomer.text(".env.example").splitlines())
    assert "Written: .env" in terminal.shown


def test_no_other_machine_is_an_answer_that_is_not_asked_for_again(newcomer: Home) -> None:
    with newcomer.setup() as terminal:
        answer(terminal, ("Where releases run", "\n"), ("train on", "\n"))
        assert terminal.end() == 0, terminal.shown
    assert "Ready: `invoke release`" in terminal.shown
    before = newcomer.files()
    with newcomer.setup() as terminal:
        assert terminal.end() == 0
    assert "Written" not in terminal.shown
    assert newcomer.files() == before


# Azure


def test_for_azure_it_writes_the_workspace_to_config_and_secrets_to_dotenv_alone(newcomer: Home) -> None:
    example, toml = newcomer.text(".env.example"), newcomer.text("config/release.toml")
    everything = []
    with newcomer.setup(env=WRONG) as terminal:
        for prompt, typed in (
            ("Where releases run", "azureml\n"),
            ("costs money(.|\n)*Subscription id: ", "12\n"),
            ("must be a GUID(.|\n)*Subscription id: ", f"{SUBSCRIPTION}\n"),
            (r"Resource group \[release\]: ", "ends.\n"),
            (r"no \. at its end\n.*: ", "my.group\n"),
            (r"Workspace \[release\]: ", "\n"),
            (r"Region \[westeurope\]: ", "North Europe\n"),
            (r"AKS cluster .*\[release-aks\]: ", "serving\n"),
            ("az login(.|\n)*Client id", f"{CLIENT}\n"),
            ("tenant id: ", f"{TENANT}\n"),
            ("secret: ", f"{SECRET}\n"),
        ):
            answer(terminal, (prompt, typed))
            everything.append(terminal.shown)
        assert terminal.end() == 2
    assert "VM_SSH_PORT must be a number" in terminal.shown
    assert SECRET not in "".join([*everything, terminal.shown])
    assert json.loads(newcomer.text("config/config.json")) == {
        "subscription_id": SUBSCRIPTION,
        "resource_group": "my.group",
        "workspace_name": "release",
        "location": "northeurope",
    }
    assert newcomer.text("config/release.toml") == toml.replace('"release-aks"', '"serving"')
    dotenv = newcomer.text(".env")
    assert len(dotenv.splitlines()) == len(example.splitlines())
    assert {line for line in example.splitlines() if line.startswith("# ") and "=" not in line} <= {
        *dotenv.splitlines()
    }
    assert f"AZURE_CLIENT_ID={CLIENT}\n" in dotenv
    assert stat.S_IMODE((newcomer.root / ".env").stat().st_mode) == 0o600
    holding = [name for name, content in newcomer.files().items() if b"#1 " in content and b"secret" in content]
    assert holding == [str(newcomer.root / ".env")]
    before = newcomer.files()
    with newcomer.setup(env=WRONG) as terminal:
        assert terminal.end() == 2
    assert newcomer.files() == before


def test_the_subscription_of_the_azure_cli_is_proposed(newcomer: Home) -> None:
    account = {"id": SUBSCRIPTION, "name": "Ours", "tenantId": TENANT}
    (newcomer.home / "account.json").write_text(json.dumps(account))
    with newcomer.setup(env=WRONG) as terminal:
        answer(
            terminal,
            ("Where releases run", "azureml\n"),
            (rf"signed in to Ours(.|\n)*Subscription id \[{SUBSCRIPTION}\]: ", "\n"),
            *((prompt, "\n") for prompt in ("Resource group", "Workspace", "Region", "AKS cluster")),
        )
        terminal.end()
    assert "Client id" not in terminal.shown
    assert json.loads(newcomer.text("config/config.json"))["subscription_id"] == SUBSCRIPTION
    assert newcomer.text("config/release.toml").count("release-aks") == 1


def test_it_asks_only_for_what_azure_would_not_take_where_the_file_has_it(newcomer: Home) -> None:
    newcomer.project.edit("config/config.json", "00000000-0000-0000-0000-000000000000", SUBSCRIPTION)
    (newcomer.root / ".env").write_text("PLATFORM=azureml\nAZURE_LOCATION='?'  # where\nAZURE_CLIENT_ID=\n")
    config = newcomer.text("config/config.json")
    with newcomer.setup(env={"AZURE_WORKSPACE_NAME": "set in the environment"}) as terminal:
        answer(terminal, ("Region: ", "eastus2\n"))
        assert terminal.end() == 2
    assert "Workspace" not in terminal.shown
    assert "'set in the environment' must be 3 to 33" in terminal.shown
    assert newcomer.text("config/config.json") == config
    assert newcomer.text(".env") == "PLATFORM=azureml\nAZURE_LOCATION=eastus2  # where\nAZURE_CLIENT_ID=\n"


# Interrupted


@pytest.mark.parametrize("key", [INTERRUPT, END_OF_INPUT], ids=["Ctrl-C", "Ctrl-D"])
def test_an_interruption_keeps_what_was_answered_and_leaves_the_rest(newcomer: Home, key: str) -> None:
    before = newcomer.files()
    with newcomer.setup() as terminal:
        answer(terminal, ("Where releases run", key))
        assert terminal.end() == 130
    assert "Traceback" not in terminal.shown
    assert newcomer.files() == before
    with newcomer.setup() as terminal:
        answer(
            terminal,
            ("Where releases run", "azureml\n"),
            ("Subscription", f"{SUBSCRIPTION}\n"),
            ("Resource group", key),
        )
        assert terminal.end() == 130
    assert "Interrupted: your answers are saved; `invoke setup` asks for the rest" in terminal.shown
    assert "PLATFORM=azureml\n" in newcomer.text(".env")
    assert {**newcomer.files(), **before} == newcomer.files() | before
    assert newcomer.text("config/config.json") == before[str(newcomer.root / "config/config.json")].decode()
    with newcomer.setup() as terminal:
        answer(terminal, ("Subscription id: ", key))
        assert terminal.end() == 130


# What it names at its end


def test_the_two_commands_at_its_end_work_as_printed_and_it_runs_neither(newcomer: Home) -> None:
    printed = newcomer.project.invoke("setup", env=newcomer.environment)
    assert not (newcomer.root / ".git/hooks/pre-commit").exists()
    completion, install = re.findall(r"`(invoke --\S+ bash|pre-commit \w+)`", printed)
    assert "complete -F _complete_invoke" in newcomer.run(completion).stdout
    assert newcomer.run(install).returncode == 0
    (newcomer.root / "wrong.py").write_text("import  os\n")
    newcomer.git("add", "wrong.py")
    refused = newcomer.git("commit", "--message", "wrong")
    assert refused.returncode == 1
    assert "F401" in refused.stderr
    (newcomer.root / "wrong.py").write_text('"""One constant."""\n\nTRUTH = 1\n')
    newcomer.git("add", "wrong.py")
    assert newcomer.git("commit", "--message", "right").returncode == 0


def test_what_an_earlier_setup_wrote_into_dotenv_is_accepted(newcomer: Home) -> None:
    (newcomer.root / ".env").write_text("PLATFORM=local\nVM_HOST=\nSETUP_DECLINED=completion,hooks\n")
    (newcomer.root / ".env").chmod(0o600)
    assert "Ready" in newcomer.project.invoke("setup", env=newcomer.environment)
    assert "train" in newcomer.project.invoke("status", env=newcomer.environment)


# How a file is changed


def test_a_dotenv_that_is_a_link_stays_one(tmp_path: Path, project: Project) -> None:
    elsewhere = project.root / "artifacts/secrets"
    elsewhere.parent.mkdir()
    elsewhere.write_text("A=1\n")
    (project.root / ".env").symlink_to(elsewhere)
    assert SettingsFiles(project.root).write({Setting(".env", "B"): "2"}) == [".env"]
    assert (project.root / ".env").is_symlink()
    assert elsewhere.read_text() == "A=1\nB=2\n"
    elsewhere.unlink()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("NAME=old  # why\nB=1\n", "NAME=new  # why\nB=1\n"),
        ("export NAME = 'o#d' # why\r\nB=1\r\n", "export NAME = new # why\r\nB=1\r\n"),
        ('A=1\nNAME="old"', "A=1\nNAME=new"),
        ("# NAME=\n# more\n", "NAME=new\n# more\n"),
        ("# NAME is what\n", "# NAME is what\nNAME=new\n"),
        ("# NAME=x\nNAME=old\n", "# NAME=x\nNAME=new\n"),
        ("A=1", "A=1\nNAME=new\n"),
        ("MY_NAME=1\n", "MY_NAME=1\nNAME=new\n"),
        ("NAME=  new  # so be it\n", "NAME=  new  # so be it\n"),
    ],
)
def test_a_variable_is_set_in_its_place(before: str, after: str) -> None:
    assert with_variable(before, "NAME", "new") == after


@pytest.mark.parametrize("value", ["", "a b", "#", "it's", '"', "\\", "\\'", "ümlaut", "$HOME", "a=b # c"])
def test_a_value_is_read_as_it_was_written(tmp_path: Path, value: str) -> None:
    from dotenv import dotenv_values

    (tmp_path / ".env").write_text(with_variable("NAME=old\n", "NAME", value))
    assert dotenv_values(tmp_path / ".env") == {"NAME": value}


def test_a_value_that_dotenv_cannot_hold_is_told_without_being_shown() -> None:
    with pytest.raises(SettingsError, match="Set the environment variable instead") as told:
        with_variable("", "NAME", "${HOME}")
    assert "HOME" not in str(told.value)


def test_comments_of_toml_are_kept() -> None:
    before = '# one\n[azureml.aks]   # two\nname = "old"    # three\nnodes = 3\n'
    assert with_entry(before, "azureml.aks.name", "new") == before.replace("old", "new")
    assert with_entry(before, "azureml.aks.name", "old") == before
