"""The container engine of this machine, Docker or Podman, through the Docker API; and what it refuses, in words."""

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
TOLD = 400  # characters of what an engine says
WORKSPACE = "invoke-release.workspace"
SERVICE = "invoke-release.service"
REPLICA = "invoke-release.replica"
START = "Start Docker or Podman (systemctl --user start podman.socket), or set DOCKER_HOST=unix://PATH"
JOIN = "You may not use its socket: join its group (sudo usermod -aG docker NAME) and sign in again"
INSTEAD = '[local] engine = "process" in config/release.toml does without'
HINTS = {
    "no space left": "The engine's disk is full: free space there (`docker system df` shows it), then run it again",
    "disk quota": "The engine's disk is full: free space there (`docker system df` shows it), then run it again",
    "cgroup": "The engine cannot limit cpu or memory here: is it set up for this machine?",
}


class Engine:
    """The engine, connected when it is first used, and what is labelled as this workspace's."""

    def __init__(self, workspace: Path) -> None:
        self.labels = {WORKSPACE: str(workspace.resolve())}
        self.name = digest(str(workspace.resolve()).encode())[:8]

    @functools.cached_property
    def client(self) -> Any:
        """Return the connected client. Raises ReleaseError where no engine answers."""
        return docker.DockerClient(base_url=address(), timeout=TIMEOUT_S)

    def describe(self) -> str:
        """Return the engine's name, version and address."""
        with explained("asking the container engine for its version"):
            told = self.client.version()
        components = told.get("Components") or [{"Name": "Docker", "Version": told.get("Version", "")}]
        return f"{components[0]['Name']} {components[0]['Version']} at {address()}"

    def containers(self, **labels: str) -> list[Any]:
        """Return this workspace's containers with some labels, running or not."""
        wanted = [f"{name}={value}" for name, value in (self.labels | labels).items()]
        with explained("listing containers"):
            return list(self.client.containers.list(all=True, filters={"label": wanted}, ignore_removed=True))

    def network(self) -> str:
        """Return the name of the network of this workspace's containers, and create it where it is missing."""
        name = f"invoke-release-{self.name}"
        with explained(f"creating the network {name}"):
            if not self.client.networks.list(names=[f"^{name}$"]):
                self.client.networks.create(name, labels=self.labels)
        return name

    def remove_network(self) -> None:
        """Remove the network, unless a container is still in it."""
        if not self.containers():
            with explained("removing a network"):
                for network in self.client.networks.list(filters={"label": [f"{WORKSPACE}={self.labels[WORKSPACE]}"]}):
                    network.remove()


def address() -> str:
    """Return the address of the first engine that answers. Raises ReleaseError that says what was tried."""
    given = os.environ.get("DOCKER_HOST")
    if given and not given.startswith("unix://"):
        raise ReleaseError(
            f"DOCKER_HOST={given} is no socket of this machine, where the services are to listen\n"
            f"Set it to unix://PATH, or take it away; {INSTEAD}"
        )
    tried = {place: refusal(place) for place in ([Path(given.removeprefix("unix://"))] if given else sockets())}
    for place, refused in tried.items():
        if not refused:
            return f"unix://{place}"
    there = [f"{place}: {refused}" for place, refused in tried.items() if given or place.exists()]
    remedy = JOIN if any("denied" in one for one in there) else START
    raise ReleaseError(
        f"no container engine answers: {'; '.join(there) or 'no socket of Docker or Podman is here'}\n"
        f"{remedy}; {INSTEAD}"
    )


def sockets() -> list[Path]:
    """Return where Docker and Podman usually listen, for everybody and for this user."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}"))
    home = Path.home()
    return [
        Path("/var/run/docker.sock"),
        runtime / "docker.sock",
        home / ".docker/run/docker.sock",
        runtime / "podman/podman.sock",
        home / ".local/share/containers/podman/machine/podman.sock",
        Path("/run/podman/podman.sock"),
    ]


def refusal(place: Path) -> str:
    """Say why a socket cannot be connected to; empty where it can."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT_S)
        try:
            connection.connect(str(place))
        except OSError as error:
            return (error.strerror or str(error)).lower()
    return ""


@contextlib.contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn what the engine refuses, or that it does not answer, into a ReleaseError."""
    try:
        yield
    except APIError as error:
        raise failed(doing, str(error.explanation or error)) from None
    except (DockerException, requests.RequestException) as error:
        raise ReleaseError(
            f"{doing}: the container engine does not answer ({str(error).splitlines()[0][:200]})\n"
            "Is it still running? Start it, then run it again"
        ) from None


def failed(doing: str, why: str) -> ReleaseError:
    """Return the error for what an engine refused."""
    lines = [line.strip() for line in why.splitlines() if line.strip()] or ["it does not say why"]
    hint = next((hint for part, hint in HINTS.items() if part in why.lower()), "")
    told = lines[-1].removeprefix("* ")
    short = told if len(told) <= TOLD else f"{told[: TOLD // 2]} ... {told[-TOLD // 2 :]}"
    return ReleaseError(f"{doing}: {short}" + (f"\n{hint}" if hint else ""))
