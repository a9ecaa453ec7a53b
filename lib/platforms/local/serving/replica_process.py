"""A replica from the inside: an image's own server, first on a private port, then on the service's shared socket.

Over the channel to the release that starts it:  -> {"port"}, when loaded;  <- the listening socket;  -> {"taken"}.
Until it has taken the traffic it ends when the channel closes. From then on later releases reach it over its control
socket:  "listener" hands the listening socket on;  "stop" ends it after the requests that it is answering.
"""

import contextlib
import json
import os
import runpy
import signal
import socket
import threading
from pathlib import Path
from typing import Any


class Replica:
    """The state that gunicorn's main thread and the control thread share."""

    def __init__(self, channel: socket.socket, image: str, control: str, workers: int) -> None:
        self.channel = channel
        self.control = control
        self.serve = runpy.run_path(str(Path(image) / "serve.py"))
        hooks = {"when_ready": self.ready, "on_reload": self.reloaded, "post_fork": self.forked}
        self.server = self.serve["Server"](**self.serve["options"]("127.0.0.1:0", workers), **hooks)
        self.arbiter: Any = None
        self.listening: socket.socket | None = None
        self.switched = threading.Event()

    def ready(self, arbiter: Any) -> None:
        """Tell the private port, once the application is loaded."""
        self.arbiter = arbiter
        port = arbiter.LISTENERS[0].sock.getsockname()[1]
        self.channel.sendall(json.dumps({"port": port}).encode() + b"\n")

    def reloaded(self, _arbiter: Any) -> None:
        """Gunicorn listens on the shared socket now, and forks its workers next."""
        self.switched.set()

    def forked(self, _arbiter: Any, _worker: Any) -> None:
        """Close in a worker what would hide that the replica has ended."""
        self.channel.close()
        if self.listening:
            self.listening.close()

    def wait_for_traffic(self) -> None:
        """Take the listening socket over, or end with the release that started this replica."""
        _, descriptors, _, _ = socket.recv_fds(self.channel, 16, 1)
        if not descriptors:
            os.kill(os.getpid(), signal.SIGKILL if self.arbiter is None else signal.SIGQUIT)
            return
        self.listening = bind_control(self.control)
        self.server.options["bind"] = f"fd://{descriptors[0]}"
        os.kill(os.getpid(), signal.SIGHUP)
        self.switched.wait()
        with contextlib.suppress(OSError):
            self.channel.sendall(b'{"taken": true}\n')
        self.channel.close()
        while True:
            connection, _ = self.listening.accept()
            with connection, contextlib.suppress(OSError):
                self.obey(connection)

    def obey(self, connection: socket.socket) -> None:
        """Do what a later release asks."""
        command = connection.recv(16)
        if command == b"listener":
            socket.send_fds(connection, [b"!"], [self.arbiter.LISTENERS[0].sock.fileno()])
        elif command == b"stop":
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait()  # keeps the connection open until this process has ended


def run(channel: socket.socket, image: str, control: str, workers: int) -> None:
    """Be a replica until told to stop."""
    replica = Replica(channel, image, control, workers)
    threading.Thread(target=replica.wait_for_traffic, daemon=True).start()
    replica.server.run()


def bind_control(path: str) -> socket.socket:
    """Listen on a Unix socket that only this user can reach."""
    listening = socket.socket(socket.AF_UNIX)
    with short(path) as name:
        listening.bind(name)
    listening.listen()
    return listening


@contextlib.contextmanager
def short(path: str) -> Any:
    """Give a path that fits a Unix socket's limit of about a hundred bytes, however deep the folder is."""
    folder = os.open(Path(path).parent, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{folder}/{Path(path).name}" if Path("/proc/self/fd").exists() else path
    finally:
        os.close(folder)
