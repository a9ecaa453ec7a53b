"""The container engine of this machine, Docker or Podman, through the Docker API, with its errors in plain words."""

import contextlib
import functools
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException

from lib.errors import ReleaseError
from lib.files import digest

TIMEOUT_S = 120
ERROR_CHARACTERS = 400  # of an engine's message
WORKSPACE = "invoke-release.workspace"
SERVICE = "invoke-release.service"
REPLICA = "invoke-release.replica"
START = "Start Docker or Podman (systemctl --user start podman.socket), or set DOCKER_HOST=unix://PATH"
JOIN = "You have no access to its socket: join its group (sudo usermod -aG docker NAME) and sign in again"
INSTEAD = '[local] engine = "process" in config/release.toml needs no engine'
HINTS = {
    "no space left": "The engine's disk is full: `docker system df` shows what to remove; then try again",
    "disk quota": "The engine's disk is full: `docker system df` shows what to remove; then try again",
    # Podman's network program says this if it does not find iptables, which Debian's package only suggests.
    "netavark: no such file": "Podman's network needs iptables: apt-get install iptables, then try again",
    "cgroup": "The engine cannot limit CPU or memory on this machine: are cgroups set up?",
}


class Engine:
    """The engine, connected when it is first used. `labels` mark what belongs to this workspace."""

    def __init__(self, workspace: Path) -> None:
        self.labels = {WORKSPACE: str(workspace.resolve())}
        self.name = digest(str(workspace.resolve()).encode())[:8]

    @functools.cached_property
    def client(self) -> Any:
        """Return the connected client. Raises ReleaseError if no engine answers."""
        return docker.DockerClient(base_url=address(), timeout=TIMEOUT_S)

    def describe(self) -> str:
        """Return the engine's name, version and address."""
        with explained("asking the container engine for its version"):
            version = self.client.version()
        components = version.get("Components") or [{"Name": "Docker", "Version": version.get("Version", "")}]
        return f"{components[0]['Name']} {components[0]['Version']} at {address()}"

    def containers(self, **labels: str) -> list[Any]:
        """Return this workspace's containers with some labels, running or not."""
        filters = [f"{name}={value}" for name, value in (self.labels | labels).items()]
        with explained("listing containers"):
            return list(self.client.containers.list(all=True, filters={"label": filters}, ignore_removed=True))

    def network(self) -> str:
        """Return the name of the network of this workspace's containers. Creates it if it is missing."""
        name = f"invoke-release-{self.name}"
        with explained(f"creating the network {name}"):
            if not self.client.networks.list(names=[f"^{name}$"]):
                self.client.networks.create(name, labels=self.labels)
        return name

    def remove_network(self) -> None:
        """Remove the network unless a container still uses it."""
        if not self.containers():
            with explained("removing a network"):
                for network in self.client.networks.list(filters={"label": [f"{WORKSPACE}={self.labels[WORKSPACE]}"]}):
                    network.remove()


def address() -> str:
    """Return the address of the first engine that answers. The ReleaseError otherwise lists what was tried."""
    host = os.environ.get("DOCKER_HOST")
    if host and not host.startswith("unix://"):
        raise ReleaseError(
            f"DOCKER_HOST={host} is not a socket of this machine; services must run on this machine\n"
            f"Set it to unix://PATH, or unset it; {INSTEAD}"
        )
    paths = [Path(host.removeprefix("unix://"))] if host else _usual_sockets()
    errors = {path: _connection_error(path) for path in paths}
    for path, error in errors.items():
        if not error:
            return f"unix://{path}"
    reasons = [f"{path}: {error}" for path, error in errors.items() if host or path.exists()]
    remedy = JOIN if any("denied" in reason for reason in reasons) else START
    raise ReleaseError(
        f"no container engine answers: {'; '.join(reasons) or 'Docker and Podman have no socket here'}\n"
        f"{remedy}; {INSTEAD}"
    )


def _usual_sockets() -> list[Path]:
    """Return the sockets on which Docker and Podman usually listen: the system's and this user's."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}"))
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() fails for a container's user without a name
    return [
        Path("/var/run/docker.sock"),
        runtime / "docker.sock",
        home / ".docker/run/docker.sock",
        runtime / "podman/podman.sock",
        home / ".local/share/containers/podman/machine/podman.sock",
        Path("/run/podman/podman.sock"),
    ]


def _connection_error(path: Path) -> str:
    """Return why nobody can connect to a socket, or an empty string."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT_S)
        try:
            connection.connect(str(path))
        except OSError as error:
            return (error.strerror or str(error)).lower()
    return ""


@contextlib.contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn an engine's refusal, or its silence, into a ReleaseError."""
    try:
        yield
    except APIError as error:
        raise failed(doing, str(error.explanation or error)) from None
    except (DockerException, requests.RequestException) as error:
        raise ReleaseError(
            f"{doing}: the container engine does not answer ({str(error).splitlines()[0][:200]})\n"
            "Is it still running? Start it, then try again"
        ) from None


def failed(doing: str, why: str) -> ReleaseError:
    """Return the error for an engine's refusal."""
    lines = [line.strip() for line in why.splitlines() if line.strip()] or ["it gives no reason"]
    hint = next((hint for part, hint in HINTS.items() if part in why.lower()), "")
    text, half = lines[-1].removeprefix("* "), ERROR_CHARACTERS // 2
    short = text if len(text) <= ERROR_CHARACTERS else f"{text[:half]} ... {text[-half:]}"
    return ReleaseError(f"{doing}: {short}" + (f"\n{hint}" if hint else ""))
