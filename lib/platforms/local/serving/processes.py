"""Replicas as processes: start one, give it the traffic, stop it. Which version serves is decided in services.py."""

import contextlib
import socket
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib.errors import ReleaseError, UnhealthyError
from lib.forks.client import CallError, Forks, receive, result_of
from lib.platforms.base import Deployment
from lib.platforms.local.serving import replica_process
from lib.platforms.local.serving.replica_process import short
from lib.platforms.local.serving.replicas import KEYS, variables
from lib.settings import Limits, Secret, Service

STOP_LIMIT_S = 60.0


class Processes:
    """Replicas of the bundles in `images`; each is one process with its workers, and has a folder of its own."""

    def __init__(self, folder: Path, images: Path, forks: Forks, limits: Limits) -> None:
        self.folder = folder
        self.images = images
        self.forks = forks
        self.limits = limits

    def start(self, deployment: Deployment, keys: tuple[Secret, Secret], serving: str) -> "Candidate":
        """Start a replica; see Replicas.start."""
        service = deployment.service
        name = uuid.uuid4().hex[:12]
        replica = self.folder / service.name / name
        replica.mkdir(parents=True)
        secrets = {f"SCORING_KEY_{place}": key.reveal() for place, key in zip(KEYS, keys, strict=True)}
        channel = self.forks.spawn(
            replica_process.run,
            replica / "log.txt",
            variables(deployment, self.limits) | secrets,
            image=str(self.images / deployment.image),
            control=str(replica / "control"),
            workers=service.local.workers,
        )
        try:
            port = loaded(channel, replica / "log.txt", self.limits.start_timeout_s)
        except BaseException:
            channel.close()
            raise
        return Candidate(replica, channel, port, lambda: self.listening(service, serving))

    def listening(self, service: Service, serving: str) -> socket.socket:
        """Return the service's listening socket: that of the replica which serves, or a new one."""
        found = listener(self.folder / service.name / serving) if serving else None
        if found and found.getsockname()[1] == service.local.port:
            return found
        if found:
            found.close()
        return bind(service)

    def stop(self, service: str, name: str) -> None:
        """Stop a replica; see Replicas.stop."""
        stop(self.folder / service / name)

    def stop_others(self, service: str, name: str) -> None:
        """Stop all replicas of a service but one."""
        for folder in (self.folder / service).glob("*"):
            if folder.name != name:
                stop(folder)

    def stop_all(self, service: str) -> None:
        """Stop all replicas of a service."""
        self.stop_others(service, "")


class Candidate:
    """A started replica that serves on a private port, and where it gets the service's listening socket from."""

    def __init__(self, folder: Path, channel: socket.socket, port: int, listening: Callable[[], socket.socket]) -> None:
        self.name = folder.name
        self.addresses = [f"http://127.0.0.1:{port}"]
        self.folder = folder
        self.channel = channel
        self.listening = listening

    def take(self) -> None:
        """Make it serve on the service's listening socket."""
        with self.listening() as listening:
            socket.send_fds(self.channel, [b"take"], [listening.fileno()])
            if not receive(self.channel):
                raise UnhealthyError(f"the new replica ended while it took over; its log is {self.folder / 'log.txt'}")

    def close(self) -> None:
        """Let go of it."""
        self.channel.close()


def bind(service: Service) -> socket.socket:
    """Listen on a service's port. Raises ReleaseError where it is taken."""
    try:
        return socket.create_server(("127.0.0.1", service.local.port), backlog=2048)
    except OSError as error:
        raise ReleaseError(
            f"{service.name} cannot listen on port {service.local.port}: {error.strerror}\n"
            "Stop what uses the port, or choose another one in config/release.toml"
        ) from None


def loaded(channel: socket.socket, log: Path, limit_s: float) -> int:
    """Wait for the private port of a replica."""
    channel.settimeout(limit_s)
    try:
        answer = receive(channel)
        return int(answer["port"] if "port" in answer else result_of(answer, "the replica", log))
    except TimeoutError:
        raise UnhealthyError(
            f"the replica was not ready after limits.start_timeout_s = {limit_s:g}\nIts log is {log}"
        ) from None
    except CallError as error:
        raise UnhealthyError(f"the replica did not start: {error}") from None


@contextlib.contextmanager
def controlled(folder: Path) -> Any:
    """Connect to a running replica; None where it does not run."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            with short(str(folder / "control")) as name:
                connection.connect(name)
        except OSError:
            yield None
        else:
            connection.settimeout(STOP_LIMIT_S)
            yield connection


def listener(folder: Path) -> socket.socket | None:
    """Return the listening socket of a running replica."""
    with controlled(folder) as connection:
        if connection is None:
            return None
        try:
            connection.sendall(b"listener")
            _, descriptors, _, _ = socket.recv_fds(connection, 1, 1)
        except OSError:
            return None
        return socket.socket(fileno=descriptors[0]) if descriptors else None


def stop(folder: Path) -> None:
    """Stop a replica after the requests that it is answering, and wait until it has ended."""
    with controlled(folder) as connection:
        if connection is not None:
            try:
                connection.sendall(b"stop")
                connection.recv(1)
            except ConnectionError:
                return
            except TimeoutError:
                raise ReleaseError(
                    f"a replica did not end within {STOP_LIMIT_S:g} s; its log is {folder / 'log.txt'}"
                ) from None
