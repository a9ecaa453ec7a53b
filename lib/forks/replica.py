"""Inside a replica: an image's own server, first on a private port, then on the service's shared socket.

Channel to the release that starts the replica:

    replica -> {"port"}               every worker has loaded the model
    replica <- the listening socket   take over the traffic
    replica -> {"taken"}

Until it has taken over, the replica ends if the channel closes. From then on, later releases reach it over its control
socket: "listener" hands the listening socket on; "stop" ends the replica after its current requests.

Each worker loads the model once, and keeps it: the shared socket replaces the private one under the same number.
"""

import contextlib
import json
import os
import runpy
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lib.forks import causes
from lib.image import intact

LONGEST_SOCKET_PATH = 100  # bytes; macOS allows 103, Linux 107
BACKLOG = 2048
PORT_ATTEMPTS = 50
PORT_LIMIT_S = 0.5  # a connection to this machine takes much less
BOOT_ERROR = 3  # gunicorn's exit code of a worker that could not load: it ends the server


class WorkerError(Exception):
    """A worker could not load the model."""


class Replica:
    """The state that gunicorn's main thread and the control thread share."""

    def __init__(self, channel: socket.socket, image: str, control: str, workers: int, log_file: str) -> None:
        self._channel = channel
        self._control_path = control
        self._log = Path(log_file)
        serve = runpy.run_path(str(Path(image) / "serve.py"))
        hooks = {
            "when_ready": self._on_ready,
            "pre_fork": self._before_fork,
            "post_fork": self._in_worker,
            "post_worker_init": self._on_loaded,
            "child_exit": self._on_exit,
        }
        self._server = serve["Server"](**serve["options"](f"fd://{_listen().detach()}", workers), **hooks)
        self._load, self._server.load = self._server.load, self._load_or_report
        self._arbiter: Any = None
        self._control: socket.socket | None = None
        self._count = workers
        self._workers: dict[int, tuple[socket.socket, socket.socket]] = {}  # by age: our end, and the worker's
        self._failures, self._failure_end = os.pipe()  # a line from each worker that could not load the model
        self._loaded, self._loaded_end = os.pipe()  # a byte from each worker that has loaded it
        self._workers_may_end = False  # not before the replica serves
        self._failed = False

    def serve(self) -> None:
        """Serve until told to stop. Raises WorkerError if a worker cannot load the model."""
        process = os.getpid()
        os.set_blocking(self._failures, False)
        threading.Thread(target=self._wait_for_traffic, daemon=True).start()
        try:
            self._server.run()
        except BaseException as ended:  # if several workers fail, gunicorn does not end in its usual way
            in_worker, failed = os.getpid() != process, self._failed or not isinstance(ended, SystemExit) or ended.code
            if failed and not in_worker and not self._workers_may_end:
                raise WorkerError(self._failure()) from None
            raise

    def _failure(self) -> str:
        """Return why a worker could not load the model."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self._failures, 1 << 16).decode().splitlines()[0]
        how = causes.crash_in(self._log) or "something ended it, perhaps because memory was short"
        return f"a worker ended before it served: {how}"

    def _load_or_report(self) -> Any:
        """Load the application. If that fails, write why into the pipe of failures before the worker ends."""
        try:
            return self._load()
        except BaseException as error:
            if isinstance(error, SystemExit) and not error.code:
                raise  # it was stopped
            traceback.print_exc()
            os.write(self._failure_end, causes.describe(error).replace("\n", " ").encode() + b"\n")
            raise SystemExit(BOOT_ERROR) from error

    def _on_ready(self, arbiter: Any) -> None:
        """Keep gunicorn's main object, which has the listening socket."""
        self._arbiter = arbiter

    def _before_fork(self, _arbiter: Any, worker: Any) -> None:
        """Open a channel to a worker that is forked next."""
        self._workers[worker.age] = socket.socketpair()

    def _in_worker(self, _arbiter: Any, worker: Any) -> None:
        """Close what is not the worker's: copies left open there would hide that the replica has ended."""
        self._channel.close()
        if self._control:
            self._control.close()
        for age, (ours, theirs) in self._workers.items():
            ours.close()
            if age != worker.age:
                theirs.close()

    def _on_loaded(self, worker: Any) -> None:
        """Report that a worker has loaded the model, and wait in a thread for the shared socket."""
        channel = self._workers[worker.age][1]
        os.write(self._loaded_end, b"!")
        threading.Thread(target=_switch, args=[channel, worker], daemon=True).start()

    def _on_exit(self, _arbiter: Any, worker: Any) -> None:
        """End the replica if a worker ends before all have loaded the model: the next would end in the same way."""
        for end in self._workers.pop(worker.age, ()):
            end.close()
        if not self._workers_may_end:
            self._failed = True
            os.kill(os.getpid(), signal.SIGQUIT)

    def _report_port(self) -> None:
        """Report the private port when every worker has loaded the model."""
        for _ in range(self._count):
            os.read(self._loaded, 1)
        port = self._arbiter.LISTENERS[0].sock.getsockname()[1]
        with contextlib.suppress(OSError):
            self._channel.sendall(json.dumps({"port": port}).encode() + b"\n")

    def _wait_for_traffic(self) -> None:
        """Take the listening socket over and obey later releases, or end with the release that started this replica."""
        threading.Thread(target=self._report_port, daemon=True).start()
        _, descriptors, _, _ = socket.recv_fds(self._channel, 16, 1)
        if not descriptors:
            self._workers_may_end = True
            # SIGKILL before gunicorn handles signals.
            os.kill(os.getpid(), signal.SIGKILL if self._arbiter is None else signal.SIGQUIT)
            return
        try:
            self._control = _bind(self._control_path)
        except OSError:
            # Without its control socket nothing could ever stop it.
            traceback.print_exc()
            os.kill(os.getpid(), signal.SIGQUIT)
            return
        self._take(descriptors[0])
        with contextlib.suppress(OSError):
            self._channel.sendall(b'{"taken": true}\n')
        self._channel.close()
        while True:
            connection, _ = self._control.accept()
            with connection, contextlib.suppress(OSError):
                self._obey(connection)

    def _take(self, listener: int) -> None:
        """Put the shared socket in the place of the private one: here, for workers to come, then in each worker."""
        os.set_blocking(listener, False)
        self._workers_may_end = True
        os.dup2(listener, self._arbiter.LISTENERS[0].sock.fileno(), inheritable=False)
        for ours, theirs in list(self._workers.values()):
            theirs.close()  # so that the end of a worker ends the wait for it
            with contextlib.suppress(OSError):
                socket.send_fds(ours, [b"!"], [listener])
                ours.recv(1)
        os.close(listener)

    def _obey(self, connection: socket.socket) -> None:
        """Do what a later release asks."""
        command = connection.recv(16)
        if command == b"listener":
            socket.send_fds(connection, [b"!"], [self._arbiter.LISTENERS[0].sock.fileno()])
        elif command == b"stop":
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait()  # keeps the connection open until this process has ended


def run(channel: socket.socket, image: str, digest: str, control: str, workers: int, log_file: str) -> None:
    """Be a replica of the image in a folder until told to stop. Called in a fork that writes to `log_file`.

    Raises DamagedImageError before it loads anything if the image is not the one with this digest, WorkerError if the
    model cannot be loaded.
    """
    sys.dont_write_bytecode = True  # an image contains only the files that its manifest lists
    intact.require_intact(Path(image), digest)
    Replica(channel, image, control, workers, log_file).serve()


def _switch(channel: socket.socket, worker: Any) -> None:
    """Wait in a worker for the shared socket, and put it in the place of the private one."""
    _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
    if descriptors:
        os.dup2(descriptors[0], worker.sockets[0].fileno(), inheritable=False)
        os.close(descriptors[0])
        os.write(worker.PIPE[1], b"!")  # wakes the worker, which waits for the private socket
        channel.sendall(b"!")


def _listen() -> socket.socket:
    """Listen on a free port that can be reached.

    A container engine that was killed leaves rules behind which send connections to a free port elsewhere.
    """
    for _ in range(PORT_ATTEMPTS):
        listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        try:
            socket.create_connection(listener.getsockname(), PORT_LIMIT_S).close()
        except OSError as error:
            fault = error
            listener.close()
        else:
            return listener
    raise WorkerError(f"no free port of 127.0.0.1 can be reached: {fault}")


def _bind(path: str) -> socket.socket:
    """Listen on a Unix socket that only this user can reach."""
    listener = socket.socket(socket.AF_UNIX)
    with short(path) as name:
        listener.bind(name)
    listener.listen()
    return listener


@contextlib.contextmanager
def short(path: str) -> Iterator[str]:
    """Yield a path that fits a Unix socket's limit of about a hundred bytes, however deep the folder is."""
    if Path("/proc/self/fd").exists():
        folder = os.open(Path(path).parent, os.O_RDONLY)
        try:
            yield f"/proc/self/fd/{folder}/{Path(path).name}"
        finally:
            os.close(folder)
    elif len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        yield path
    else:  # macOS
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / "f").symlink_to(Path(path).parent.absolute())
            yield f"{place}/f/{Path(path).name}"
