"""Projects to try things in: whole copies of this one, with ports and a workspace of their own."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ["tasks.py", "lib", "config", "model", "service", "requirements.txt", ".env.example", ".gitignore"]
LIMIT_S = 120


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
            output, _ = process.communicate(timeout=LIMIT_S)
        assert process.returncode == expect, f"exit code {process.returncode}, expected {expect}:\n{output}"
        return output

    def close(self) -> None:
        """Stop what the project started."""
        with contextlib.suppress(AssertionError):
            self.invoke("stop", "--yes")


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def clean_environment() -> dict[str, str]:
    """Return the environment without settings of a release."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("SCORING_", "PLATFORM", "LOCAL_"))
    }


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
