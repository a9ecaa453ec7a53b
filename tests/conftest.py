"""Projects to try things in: whole copies of this one, with ports and a workspace of their own."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.azure.loopback import LoopbackAzure
from tests.terminal import Terminal, terminal

ROOT = Path(__file__).resolve().parents[1]
PARTS = ["tasks.py", "lib", "config", "model", "service", "requirements.txt", ".env.example", ".gitignore"]
LIMIT_S = 300
# Started in the background, as CI may be, this process ignores Ctrl-C, and so would the releases that get it here.
signal.signal(signal.SIGINT, signal.default_int_handler)
SETTINGS = ("SCORING_", "PLATFORM", "LOCAL_", "AZURE_", "VM_")


class Project:
    """A copy of this project, used as its users do: through `invoke` and its files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, root / part)
        self.ports = free_port(), free_port()
        self.edit("config/release.toml", "port = 8501", f"port = {self.ports[0]}")
        self.edit("config/release.toml", "port = 8502", f"port = {self.ports[1]}")

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace text in a file, which must be there."""
        path = self.root / name
        text = path.read_text()
        assert old in text, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new))

    def start(self, *arguments: str, cwd: Path | None = None, **environment: str) -> "subprocess.Popen[str]":
        """Start invoke and return its process."""
        return subprocess.Popen(
            [sys.executable, "-m", "invoke", *arguments],
            cwd=cwd or self.root,
            env=clean_environment() | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def invoke(self, *arguments: str, expect: int = 0, cwd: Path | None = None, **environment: str) -> str:
        """Run invoke, check its exit code, and return what it printed."""
        with self.start(*arguments, cwd=cwd, **environment) as process:
            try:
                output, _ = process.communicate(timeout=LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert process.returncode == expect, f"exit code {process.returncode}, expected {expect}:\n{output}"
        return output

    def on_a_terminal(self, *arguments: str, **environment: str) -> AbstractContextManager[Terminal]:
        """Run invoke on a terminal."""
        command = (sys.executable, "-m", "invoke", *arguments)
        return terminal(*command, cwd=self.root, environment=clean_environment() | environment)

    def close(self) -> None:
        """Stop what the project started."""
        with contextlib.suppress(AssertionError):
            self.invoke("stop", "--yes")


class AzureProject(Project):
    """A copy of this project with a workspace of its own on the loopback Azure."""

    def __init__(self, root: Path, azure: LoopbackAzure, workspace: str = "") -> None:
        super().__init__(root)
        self.azure = azure
        self.workspace = workspace or f"workspace-{uuid.uuid4().hex[:12]}"
        if not workspace:
            azure.add_workspace(self.workspace, "release")
        self.environment = azure.environment | {"HOME": str(azure.home()), "AZURE_WORKSPACE_NAME": self.workspace}
        self.edit("config/release.toml", "create = []", 'create = ["aks"]')
        (root / ".env").write_text("PLATFORM=azureml\n")
        (root / ".env").chmod(0o600)

    def start(self, *arguments: str, cwd: Path | None = None, **environment: str) -> "subprocess.Popen[str]":
        """Start invoke with what leads the SDK to the loopback Azure; an empty value takes a variable away."""
        return super().start(*arguments, cwd=cwd, **self.given(environment))

    def on_a_terminal(self, *arguments: str, **environment: str) -> AbstractContextManager[Terminal]:
        """Run invoke on a terminal, likewise."""
        return super().on_a_terminal(*arguments, **self.given(environment))

    def given(self, environment: dict[str, str]) -> dict[str, str]:
        return {name: value for name, value in (self.environment | environment).items() if value}

    def clone(self, root: Path) -> "AzureProject":
        """Give a fresh copy that uses the same workspace, as another machine would."""
        return AzureProject(root, self.azure, self.workspace)

    def requests(self, **patterns: str) -> list[dict[str, Any]]:
        """Return the requests that named this project's workspace."""
        return self.azure.requests(**({"path": f"/workspaces/{self.workspace}(/|$)"} | patterns))

    def close(self) -> None:
        """Delete the services."""
        with contextlib.suppress(AssertionError):
            self.invoke("destroy", "--kind", "service", "--yes", "--production")


def free_port() -> int:
    """Return a port that nothing listens on, and that the system gives to no client of another test."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def clean_environment() -> dict[str, str]:
    """Return the environment without settings of a release."""
    return {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Give a project in which nothing has run yet."""
    made = Project(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Give a project whose first release has been made; for tests that leave it as they find it."""
    made = Project(tmp_path_factory.mktemp("released"))
    made.invoke("release")
    yield made
    made.close()


@pytest.fixture(scope="session")
def azure() -> Iterator[LoopbackAzure]:
    """Give the loopback Azure, one for all tests; each has its own workspace in it."""
    with LoopbackAzure() as running:
        yield running


@pytest.fixture
def azure_project(tmp_path: Path, azure: LoopbackAzure) -> Iterator[AzureProject]:
    """Give a project on Azure in which nothing has run yet."""
    made = AzureProject(tmp_path, azure)
    yield made
    made.close()
