"""A project to try things in, a whole copy of this one, and how it looks from outside."""

import contextlib
import functools
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import pytest
import requests

from tests.azure.loopback import LoopbackAzure
from tests.support import invocation
from tests.support.invocation import Process
from tests.support.terminal import Terminal, terminal

Env = dict[str, str]
ROOT = Path(__file__).resolve().parents[2]
PARTS = [
    "tasks.py",
    "lib",
    "config",
    "model",
    "service",
    "pyproject.toml",
    "requirements.txt",
    ".env.example",
    ".gitignore",
]
LIMIT_S = 300
# The models' environments, which all tests share: most projects have the same packages.
ENVIRONMENTS = Path(sys.prefix) / "model-environments"
SETTINGS = ("SCORING_", "PLATFORM", "LOCAL_", "AZURE_", "VM_", "GITHUB_", "TF_BUILD", "SYSTEM_", "BUILD_")
STEPS = ["train", "evaluate", "register", "image", "aci", "aci_test", "aks", "test"]
RECORDS = [
    "run_id.json",
    "evaluation.json",
    "model.json",
    "image.json",
    "aci_webservice.json",
    "aci_test.json",
    "aks_webservice.json",
    "test.json",
]


class HasRoot(Protocol):
    """A project, or a machine that has one."""

    root: Path


class Project:
    """A copy of this project, used as its users do: through `invoke` and its files."""

    imported: tuple[str, ...] = invocation.LOCAL

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

    def start(self, *arguments: str, cwd: Path | None = None, env: Env | None = None) -> Process:
        """Start invoke and return its process."""
        environment = clean_environment() | (env or {})
        return invocation.start(["-m", "invoke", *arguments], cwd or self.root, environment, self.imported)

    def invoke(self, *arguments: str, expect: int = 0, cwd: Path | None = None, env: Env | None = None) -> str:
        """Run invoke, check its exit code, and return what it printed."""
        with self.start(*arguments, cwd=cwd, env=env) as process:
            try:
                output, _ = process.communicate(timeout=LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert process.returncode == expect, f"exit code {process.returncode}, expected {expect}:\n{output}"
        return output

    def on_a_terminal(self, *arguments: str, env: Env | None = None) -> AbstractContextManager[Terminal]:
        """Run invoke on a terminal."""
        command = (sys.executable, "-m", "invoke", *arguments)
        return terminal(*command, cwd=self.root, environment=clean_environment() | (env or {}))

    def close(self) -> None:
        """Stop what the project started."""
        with contextlib.suppress(AssertionError):
            self.invoke("stop", "--yes")


class AzureProject(Project):
    """A copy of this project with a separate workspace on the loopback Azure."""

    imported = invocation.AZUREML

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

    def start(self, *arguments: str, cwd: Path | None = None, env: Env | None = None) -> Process:
        """Start invoke with what leads the SDK to the loopback Azure; an empty value takes a variable away."""
        return super().start(*arguments, cwd=cwd, env=self.given(env or {}))

    def on_a_terminal(self, *arguments: str, env: Env | None = None) -> AbstractContextManager[Terminal]:
        """Run invoke on a terminal, likewise."""
        return super().on_a_terminal(*arguments, env=self.given(env or {}))

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
        # Reached as well: a container engine that was killed leaves rules that send connections elsewhere.
        with contextlib.suppress(OSError), socket.create_server(address := ("127.0.0.1", port)):
            socket.create_connection(address, 1).close()
            return port


def clean_environment() -> dict[str, str]:
    """Return the environment without settings of a release."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    return own | {"LOCAL_ENVIRONMENTS": str(ENVIRONMENTS)}


def told(project: Project) -> dict[str, dict[str, Any]]:
    """Return what `status` shows of each step. It exits with 5, and says so at its end, if production is down."""
    with project.start("status", "--format", "json") as process:
        output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode in (0, 5), output
    return {one["step"]: one for one in json.JSONDecoder().raw_decode(output)[0]}


def states(project: Project) -> dict[str, str]:
    return {step: one["state"] for step, one in told(project).items()}


def from_on(step: str) -> list[str]:
    return STEPS[STEPS.index(step) :]


def record(project: Project, name: str) -> dict[str, Any]:
    return dict(json.loads((project.root / "artifacts/local" / name).read_bytes()))


@functools.cache
def key(project: Project, service: str = "aks") -> str:
    found = re.search(r"primary +(\S+)", project.invoke("keys", "--service", service))
    assert found
    return found[1]


def served(project: Project, service: str = "aks") -> str:
    """Return the version that a service answers with, having compared its answers with the image's rows."""
    image = record(project, "image.json")
    uri = record(project, f"{service}_webservice.json")["scoring_uri"]
    headers = {"Authorization": f"Bearer {key(project, service)}"}
    answer = requests.post(uri, json={"data": image["rows"]}, headers=headers, timeout=LIMIT_S)
    assert answer.status_code == 200, answer.text
    if answer.headers["X-Image"] == image["digest"]:
        numbers = isinstance(image["predictions"][0], float)
        expected = pytest.approx(image["predictions"], rel=1e-9) if numbers else image["predictions"]
        assert answer.json()["result"] == expected
    return answer.headers["X-Model-Version"]


def versions_in_production(project: Project) -> list[str]:
    """Return the versions of the history, the newest first."""
    return re.findall(r"^\d{4}-\S+ +(\d+) ", project.invoke("history"), re.MULTILINE)


def processes(project: HasRoot) -> dict[int, int]:
    """Return the processes that work in the project's folder, each with its process group."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "cwd").readlink() == project.root.resolve():
                found[int(folder.name)] = os.getpgid(int(folder.name))
    return found


def server(project: Project, service: str) -> int:
    """Return the process group that listens on a service's port."""
    port = project.ports[["aci", "aks"].index(service)]
    listening = {
        f"socket:[{line.split()[9]}]"
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
    }
    groups = set()
    for pid, group in processes(project).items():
        with contextlib.suppress(OSError):
            if any(str(one.readlink()) in listening for one in Path(f"/proc/{pid}/fd").iterdir()):
                groups.add(group)
    assert len(groups) == 1, f"process groups {groups} listen for {service}"
    return groups.pop()


def eventually(condition: Callable[[], object], limit_s: float = LIMIT_S, period_s: float = 0.01) -> None:
    """Wait until a condition holds. A condition that is expensive to check gets a longer period."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"it did not come true within {limit_s:g} s"
        time.sleep(period_s)  # leaves the processor to what is waited for


def only_the_services_run(project: Project) -> None:
    """Wait until only the two services' processes of the project remain."""
    services = {server(project, "aci"), server(project, "aks")}
    assert len(services) == 2
    eventually(lambda: set(processes(project).values()) <= services)


@contextlib.contextmanager
def changed(project: Project, name: str, old: str | None, new: str) -> Iterator[None]:
    """Replace text in a file, or all of it if `old` is None, and put it back as it was."""
    path = project.root / name
    before = path.read_bytes() if path.exists() else None
    try:
        if old is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)  # a stored file may have another name, and is read-only
            path.write_text(new)
        else:
            project.edit(name, old, new)
        yield
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)


def error(project: Project, *arguments: str, expect: int, lines: int = 3, env: Env | None = None) -> str:
    """Run invoke, which must fail with an error of some lines, and return the error."""
    output = project.invoke(*arguments, expect=expect, env=env)
    assert "Traceback" not in output
    found = output[output.index("Error: ") :].strip()
    assert len(found.splitlines()) <= lines, found
    return found


@contextlib.contextmanager
def waiting(project: Project, script: str, *task: str, env: Env | None = None) -> Iterator[Process]:
    """Give a task that trains by a script which says `waiting` and then waits for ever."""
    with changed(project, "model/train.py", None, script), project.start(*task, env=env) as process:
        timer = threading.Timer(LIMIT_S, process.kill)
        timer.start()
        try:
            assert process.stdout
            assert any("| waiting" in line for line in process.stdout)
            yield process
        finally:
            timer.cancel()
            process.kill()
