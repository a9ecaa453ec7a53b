"""Replicas as processes: start one, hand it the traffic, stop it. Which version serves is decided in services.py."""

import contextlib
import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from lib.environment import lock
from lib.errors import ReleaseError, UnhealthyError
from lib.forks import replica
from lib.forks.client import CallError, Forks, receive, result_of
from lib.forks.replica import short
from lib.image.assemble import REQUIREMENTS
from lib.platforms.base import Deployment
from lib.platforms.local.serving import listeners
from lib.platforms.local.serving.replicas import variables
from lib.settings import Limits, Service

STOP_LIMIT_S = 60.0
CAUSE_LIMIT_S = 5.0


class Processes:
    """Replicas of the bundles in `images`. Each is one process with its workers, and has its own folder."""

    def __init__(self, folder: Path, images: Path, forks: Forks, limits: Limits) -> None:
        self._folder = folder
        self._images = images
        self._forks = forks
        self._limits = limits

    def start(self, deployment: Deployment, keys: Path, secrets: Path | None, serving: str) -> "Candidate":
        """Start a replica; see Replicas.start."""
        service = deployment.service
        name = uuid.uuid4().hex[:12]
        folder = self._folder / service.name / name
        folder.mkdir(parents=True)
        packages = self._packages(deployment.image)
        folders = {"SCORING_KEYS": str(keys), "SERVICE_SECRETS": str(secrets or "")}
        try:
            channel = self._forks.of(packages).spawn(
                replica.run,
                folder / "log.txt",
                variables(deployment, self._limits) | folders,
                image=str(self._images / deployment.image),
                digest=deployment.image,
                control=str(folder / "control"),
                workers=service.local.workers,
                log_file=str(folder / "log.txt"),
            )
        except CallError as error:  # what forks it was killed
            raise UnhealthyError(f"the replica did not start: {error}") from None
        try:
            port = _wait_for_port(channel, folder / "log.txt", self._limits.start_timeout_s)
        except BaseException:
            channel.close()
            raise
        return Candidate(folder, channel, port, lambda: self._listener(service, serving))

    def _packages(self, image: str) -> lock.Lock:
        """Return an image's packages. An earlier image may have others than today's conda file names."""
        try:
            return lock.parse((self._images / image / REQUIREMENTS).read_text())
        except FileNotFoundError:
            raise ReleaseError(
                f"image {image[:12]} is missing or incomplete in {self._images}\n`invoke image --force` builds it again"
            ) from None

    def stop(self, service: str, name: str) -> None:
        """Stop a replica; see Replicas.stop."""
        _stop(self._folder / service / name)

    def stop_others(self, service: str, name: str) -> None:
        """Stop all replicas of a service but one."""
        for folder in (self._folder / service).glob("*"):
            if folder.name != name:
                _stop(folder)

    def stop_all(self, service: str) -> None:
        """Stop all replicas of a service."""
        self.stop_others(service, "")

    def _listener(self, service: Service, serving: str) -> socket.socket:
        """Return the service's listening socket: from the replica that serves, or a new one.

        Handing over the open socket is what makes an update lose no request: clients that wait in its queue stay there.
        """
        listener = _ask_for_listener(self._folder / service.name / serving) if serving else None
        if listener and listener.getsockname()[1] == service.local.port:
            return listener
        if listener:
            listener.close()
        return _bind(service)


class Candidate:
    """A started replica that serves on a private port. `listener` returns the service's listening socket."""

    def __init__(self, folder: Path, channel: socket.socket, port: int, listener: Callable[[], socket.socket]) -> None:
        self.name = folder.name
        self.addresses = [f"http://127.0.0.1:{port}"]
        self._log = folder / "log.txt"
        self._channel = channel
        self._listener = listener

    def take(self) -> None:
        """Make the replica serve on the service's listening socket."""
        with self._listener() as listener:
            try:
                socket.send_fds(self._channel, [b"take"], [listener.fileno()])
                taken = receive(self._channel)
            except OSError:  # it has died, or does not answer any more
                taken = {}
            if "taken" not in taken:
                cause = taken.get("error", "killed, or out of memory?")
                raise UnhealthyError(f"the new replica ended while it took over ({cause})\nIts log is {self._log}")

    def cause(self) -> str:
        """Return why the replica has ended; an empty string if it has not."""
        self._channel.settimeout(CAUSE_LIMIT_S)
        with contextlib.suppress(TimeoutError, OSError):
            return str(receive(self._channel).get("error", ""))
        return ""

    def close(self) -> None:
        """Close the channel. A replica without traffic ends then."""
        self._channel.close()


def _bind(service: Service) -> socket.socket:
    """Listen on a service's port. Raises ReleaseError if the port is taken, or cannot be reached."""
    try:
        listener = socket.create_server(("127.0.0.1", service.local.port), backlog=2048)
    except OSError as error:
        raise ReleaseError(
            f"{service.name} cannot listen on port {service.local.port}: {error.strerror}\n"
            "Stop the program that uses the port, or choose another port in config/release.toml"
        ) from None
    if listeners.is_redirected(service.local.port):
        listener.close()
        raise ReleaseError(
            f"{service.name} cannot be reached on port {service.local.port}: {listeners.REDIRECTED}\n"
            "Remove the rule (`iptables-save` lists it), or choose another port in config/release.toml"
        )
    return listener


def _wait_for_port(channel: socket.socket, log: Path, limit_s: float) -> int:
    """Wait until a replica reports its private port. Raises UnhealthyError."""
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
def _connect(folder: Path) -> Iterator[socket.socket | None]:
    """Connect to a running replica's control socket; yield None if the replica does not run."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            with short(str(folder / "control")) as name:
                connection.connect(name)
        except OSError:  # the socket file of a replica that has ended stays, and refuses
            yield None
        else:
            connection.settimeout(STOP_LIMIT_S)
            yield connection


def _ask_for_listener(folder: Path) -> socket.socket | None:
    """Return the listening socket of a running replica."""
    with _connect(folder) as connection:
        if connection is None:
            return None
        try:
            connection.sendall(b"listener")
            _, descriptors, _, _ = socket.recv_fds(connection, 1, 1)
        except OSError:
            return None
        return socket.socket(fileno=descriptors[0]) if descriptors else None


def _stop(folder: Path) -> None:
    """Stop a replica after its current requests, and wait until it has ended."""
    with _connect(folder) as connection:
        if connection is not None:
            try:
                connection.sendall(b"stop")
                connection.recv(1)  # returns when the process ends, because the kernel closes the other end
            except ConnectionError:
                return
            except TimeoutError:
                raise ReleaseError(
                    f"a replica did not end within {STOP_LIMIT_S:g} s; its log is {folder / 'log.txt'}"
                ) from None
