"""Forks of a Python that has imported the libraries, for the drivers of runs: they ask at a socket."""

import contextlib
import json
import os
import select
import signal
import socket
import threading
from pathlib import Path

from tests.azure.serving import python
from tests.azure.state import State


def address(state: State) -> str:
    """Return the address of the socket; listen there if nobody does."""
    path = state.folder / "forks.sock"
    with state.lock:
        if not path.exists():
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            listener.bind(str(path))
            listener.listen()
            state.at_exit.append(listener.close)
            threading.Thread(target=listen, args=(listener,), daemon=True).start()
    return str(path)


def listen(listener: socket.socket) -> None:
    """Fork for each driver that asks."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # the loopback Azure ends
            return
        threading.Thread(target=fork, args=(connection,), daemon=True).start()


def fork(connection: socket.socket) -> None:
    """Start a process for a driver, and tell the driver its id and its exit code."""
    with connection:
        content, (output,), _, _ = socket.recv_fds(connection, 1 << 20, 1)
        request = json.loads(content)
        folder, environment = Path(request["folder"]), request["environment"]
        warm = python(request["python"])
        pid, status = warm.start(request["arguments"], folder, environment, output, leashed=True)
        socket.close(output)
        connection.send(str(pid).encode())
        with status:
            ended, _, _ = select.select([status, connection], [], [])
            if status not in ended:  # the driver was ended, so its run was cancelled
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
            exit_code = status.recv(100)
            with contextlib.suppress(OSError):
                connection.send(exit_code)
