"""A container engine for tests: the Docker or Podman that answers here, or a Podman that is started for them.

The latter needs no registry: an image to build upon, which is that of the load balancer as well, is made of Debian's
packages, once; it stays in Podman's own store.
"""

import contextlib
import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lib.errors import ReleaseError
from lib.files import digest
from tests.support.machine import missing, needed
from tests.support.project import Project, eventually, free_port

PACKAGES = "ca-certificates,haproxy,python3,python3-pip"
SUITE = "bookworm"  # its Python is that of config/conda_dependencies.yml
BASE = f"localhost/invoke-release-tests/base:{digest(f'{SUITE} {PACKAGES}'.encode())[:12]}"
# What it takes to run containers inside of another sandbox: no systemd, few rights.
SETTINGS = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=8192:8192"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
"""


@dataclass(frozen=True)
class Engine:
    """An engine that answers at `host`. On `registry_port` it accepts a registry without TLS."""

    host: str
    base: str
    balancer: str
    registry_port: int

    def use(self, project: Project) -> Project:
        """Let a project's releases run in containers."""
        project.edit("config/release.toml", 'engine = "process"', f'engine = "container"\nbalancer = "{self.balancer}"')
        project.edit("config/release.toml", "docker.io/library/python:{python}-slim", self.base)
        return project


@contextlib.contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """Yield an engine. Skips the test if there is none."""
    port = free_port()
    if host := answering():
        yield Engine(host, "docker.io/library/python:3.11-slim", "docker.io/library/haproxy:3.2-alpine", port)
        return
    for program in ("podman", "runc", "mmdebstrap"):
        needed(program)
    registries = folder / "registries.conf"
    registries.write_text(f'[[registry]]\nlocation = "127.0.0.1:{port}"\ninsecure = true\n')
    with podman(folder, CONTAINERS_REGISTRIES_CONF=str(registries)) as host:
        with alone():
            make_base(folder)
        yield Engine(host, BASE, BASE, port)


def answering() -> str | None:
    """Return the address of this machine's engine, unless another test started it."""
    from lib.platforms.local.containers.engine import address

    try:
        return address()
    except ReleaseError:
        return None


@contextlib.contextmanager
def podman(folder: Path, *options: str, **environment: str) -> Iterator[str]:
    """Start Podman's service with separate settings, and yield its address."""
    conf = folder / "containers.conf"
    conf.write_text(SETTINGS)
    place = folder / "podman.sock"
    given = os.environ | {"CONTAINERS_CONF": str(conf)} | environment
    with (folder / "podman.log").open("wb") as log:
        command = ["podman", *options, "system", "service", "--time=0", f"unix://{place}"]
        process = subprocess.Popen(command, env=given, stdout=log, stderr=log)
    try:
        eventually(lambda: place.exists() or process.poll() is not None, limit_s=60)
        if process.poll() is not None:
            missing(f"podman does not run here: {(folder / 'podman.log').read_text()[-300:]}")
        yield f"unix://{place}"
    finally:
        process.terminate()
        process.wait(60)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Let one test process at a time make images."""
    with Path(tempfile.gettempdir(), "invoke-release-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_base(folder: Path) -> None:
    """Make an image with Python, as python:slim has it, and with HAProxy."""
    if has(folder, BASE):
        return
    tar = folder / "base.tar"
    run(folder, "mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(tar))
    run(folder, "podman", "import", str(tar), BASE)
    tar.unlink()


def has(folder: Path, image: str) -> bool:
    return subprocess.run(["podman", "image", "exists", image], env=given(folder), check=False).returncode == 0


def run(folder: Path, *command: str) -> None:
    """Run a program with the settings of the tests' Podman. If it fails, the error has its output."""
    done = subprocess.run(command, env=given(folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr[-1000:]}"


def given(folder: Path) -> dict[str, str]:
    return os.environ | {"CONTAINERS_CONF": str(folder / "containers.conf")}
