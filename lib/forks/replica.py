"""Inside a replica: an image's own server, first on a private port, then on the service's shared socket.

Channel to the release that starts the replica:

    replica -> {"port"}               the model is loaded
    replica <- the listening socket   take over the traffic
    replica -> {"taken"}

Until it has taken over, the replica ends if the channel closes. From then on, later releases reach it over its control
socket: "listener" hands the listening socket on; "stop" ends the replica after its current requests.
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

from lib.image import intact

LONGEST_SOCKET_PATH = 100  # bytes; macOS allows 103, Linux 107


class Replica:
    """The state that gunicorn's main thread and the control thread share."""

    def __init__(self, channel: socket.socket, image: str, control: str, workers: int) -> None:
        self._channel = channel
        self._control_path = control
        serve = runpy.run_path(str(Path(image) / "serve.py"))
        hooks = {"when_ready": self._on_ready, "on_reload": self._on_reload, "post_fork": self._on_fork}
        self._server = serve["Server"](**serve["options"]("127.0.0.1:0", workers), **hooks)
        self._arbiter: Any = None
        self._control: socket.socket | None = None
        self._switched = threading.Event()

    def serve(self) -> None:
        """Serve until told to stop."""
        threading.Thread(target=self._wait_for_traffic, daemon=True).start()
        self._server.run()

    def _on_ready(self, arbiter: Any) -> None:
        """Report the private port when the application is loaded."""
        self._arbiter = arbiter
        port = arbiter.LISTENERS[0].sock.getsockname()[1]
        self._channel.sendall(json.dumps({"port": port}).encode() + b"\n")

    def _on_reload(self, _arbiter: Any) -> None:
        """Note that gunicorn listens on the shared socket; it forks its workers next."""
        self._switched.set()

    def _on_fork(self, _arbiter: Any, _worker: Any) -> None:
        """Close sockets in a worker: copies left open there would hide that the replica has ended."""
        self._channel.close()
        if self._control:
            self._control.close()

    def _wait_for_traffic(self) -> None:
        """Take the listening socket over and obey later releases, or end with the release that started this replica."""
        _, descriptors, _, _ = socket.recv_fds(self._channel, 16, 1)
        if not descriptors:
            # SIGKILL while the model loads, because gunicorn handles no signal yet.
            os.kill(os.getpid(), signal.SIGKILL if self._arbiter is None else signal.SIGQUIT)
            return
        try:
            self._control = _bind(self._control_path)
        except OSError:
            # Without its control socket nothing could ever stop it.
            traceback.print_exc()
            os.kill(os.getpid(), signal.SIGQUIT)
            return
        self._server.options["bind"] = f"fd://{descriptors[0]}"
        # SIGHUP makes gunicorn read its options again and replace its workers; the loaded model stays.
        os.kill(os.getpid(), signal.SIGHUP)
        self._switched.wait()
        with contextlib.suppress(OSError):
            self._channel.sendall(b'{"taken": true}\n')
        self._channel.close()
        while True:
            connection, _ = self._control.accept()
            with connection, contextlib.suppress(OSError):
                self._obey(connection)

    def _obey(self, connection: socket.socket) -> None:
        """Do what a later release asks."""
        command = connection.recv(16)
        if command == b"listener":
            socket.send_fds(connection, [b"!"], [self._arbiter.LISTENERS[0].sock.fileno()])
        elif command == b"stop":
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait()  # keeps the connection open until this process has ended


def run(channel: socket.socket, image: str, digest: str, control: str, workers: int) -> None:
    """Be a replica of the image in a folder until told to stop. Called in a fork.

    Raises DamagedImageError before it loads anything if the image is not the one with this digest.
    """
    sys.dont_write_bytecode = True  # an image contains only the files that its manifest lists
    intact.require_intact(Path(image), digest)
    Replica(channel, image, control, workers).serve()


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
