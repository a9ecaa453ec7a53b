"""A replica from the outside: start, give it the traffic, stop. Which version serves is decided in services.py."""

import contextlib
import socket
import uuid
from pathlib import Path
from typing import Any

from lib.errors import ReleaseError, UnhealthyError
from lib.interpreter import CallError, Interpreter, receive, result
from lib.platforms.base import Deployment
from lib.platforms.local.replica_process import short
from lib.settings import Secret

PROCESS = "lib.platforms.local.replica_process:run"
STOP_LIMIT_S = 60.0


class Candidate:
    """A started replica that serves on a private port. It ends with `close`, unless it was given the traffic."""

    def __init__(self, name: str, channel: socket.socket, port: int, folder: Path) -> None:
        self.name = name
        self.channel = channel
        self.address = f"http://127.0.0.1:{port}"
        self.folder = folder

    def take(self, listener: socket.socket) -> None:
        """Make it serve on the service's listening socket."""
        socket.send_fds(self.channel, [b"take"], [listener.fileno()])
        if not receive(self.channel):
            raise UnhealthyError(f"the new replica ended while it took over; its log is {self.folder / 'log.txt'}")

    def close(self) -> None:
        """Let go of it."""
        self.channel.close()


def start(
    interpreter: Interpreter,
    folder: Path,
    image: Path,
    deployment: Deployment,
    keys: tuple[Secret, Secret],
    limits: Any,
) -> Candidate:
    """Start a replica of an image in a process of its own, and wait until it has loaded.

    Raises UnhealthyError where it does not within limits.start_timeout_s.
    """
    name = uuid.uuid4().hex[:12]
    replica = folder / name
    replica.mkdir(parents=True)
    environment = {
        "MODEL_NAME": deployment.model_name,
        "MODEL_VERSION": str(deployment.model_version),
        "IMAGE_DIGEST": deployment.image,
        "REQUEST_BYTES": str(limits.request_bytes),
        "SCORING_KEY_PRIMARY": keys[0].reveal(),
        "SCORING_KEY_SECONDARY": keys[1].reveal(),
    }
    channel = interpreter.spawn(
        PROCESS,
        replica / "log.txt",
        environment,
        image=str(image),
        control=str(replica / "control"),
        workers=deployment.service.local.workers,
    )
    try:
        return Candidate(name, channel, loaded(channel, replica / "log.txt", limits.start_timeout_s), replica)
    except BaseException:
        channel.close()
        raise


def loaded(channel: socket.socket, log: Path, limit_s: float) -> int:
    """Wait for the private port of a replica."""
    channel.settimeout(limit_s)
    try:
        answer = receive(channel)
        return int(answer["port"] if "port" in answer else result(answer, "the replica", log))
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
