"""Fork Python processes from a process that has already imported their libraries: this saves up to five seconds each.

A fork behaves like a new process: it has its own arguments, folder, environment and output, and ends as an interpreter
does (tests/test_support.py compares the two). It needs Linux.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OURS = ("lib", "tasks", "tests")
GRACE_S = 3
Place = tuple[ModuleType, str, str]
POSSIBLE = hasattr(os, "pidfd_open")


class Process:
    """A process that was forked, used as a `subprocess.Popen` is."""

    def __init__(self, pid: int, status: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status = status
        self._lock = threading.Lock()  # several threads may wait for its end

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the exit code, which is negative after a signal. Raises TimeoutExpired."""
        while self.returncode is None:
            poll = select.poll()
            with contextlib.suppress(ValueError):  # another thread has read the exit code and closed the socket
                poll.register(self._status, select.POLLIN)
                if not poll.poll(None if timeout is None else timeout * 1000):
                    raise subprocess.TimeoutExpired("python", timeout or 0)
            self._read_status()
        return self.returncode

    def _read_status(self) -> None:
        with self._lock:
            if self.returncode is None:
                self.returncode = int(self._status.recv(100) or -signal.SIGKILL)  # nothing: killed with its parent
                self._status.close()

    def running(self) -> bool:
        """Say whether it still runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode is None

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.running():
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, if it still runs."""
        self.send_signal(signal.SIGKILL)

    def stop(self) -> None:
        """End it with everything that it started in its session."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(self.pid, number)
                self.wait(GRACE_S)
        self.wait()


class Python:
    """A process that has imported modules, and forks. It ends with its parent."""

    def __init__(self, modules: Iterable[str], executable: str = sys.executable) -> None:
        self.home = tempfile.TemporaryDirectory(prefix="home-of-imports-")
        self.requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [executable, "-m", "tests.support.warm", str(theirs.fileno()), *modules],
                cwd=ROOT,
                env=os.environ | {"HOME": self.home.name},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        atexit.register(self.close)

    def start(
        self, arguments: Iterable[str], folder: Path, environment: dict[str, str], output: int, leashed: bool = False
    ) -> tuple[int, socket.socket]:
        """Start what `python ARGUMENTS` would: `-m MODULE` or a script. Both outputs go to a descriptor.

        A leashed process leads a new session, and is killed when this one ends.
        """
        request = {
            "arguments": [*arguments],
            "folder": str(folder),
            "environment": environment,
            "leashed": leashed,
        }
        status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self.requests, [json.dumps(request).encode()], [theirs.fileno(), output])
        return int(status.recv(100)), status

    def close(self) -> None:
        """End it."""
        self.requests.close()
        self.process.wait(60)
        self.home.cleanup()


class Server:
    """The process that imports and forks."""

    def __init__(self, requests: socket.socket) -> None:
        self.requests = requests
        self.running: dict[int, tuple[int, socket.socket, bool]] = {}
        self.places: list[Place] = []

    def warm(self, modules: Iterable[str]) -> None:
        """Import modules, then forget those of this repository: each project imports its own copy of lib/."""
        for name in modules:
            with contextlib.suppress(ImportError):  # another environment need not have all of them
                importlib.import_module(name)
        for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
            del sys.modules[name]
        self.places = list(at_home())
        gc.collect()
        gc.freeze()  # a collection would touch, and so copy, all that the forks share

    def serve(self) -> list[str]:
        """Fork for each request. Returns in a fork alone: the arguments of Python."""
        while True:
            ready, _, _ = select.select([self.requests.fileno(), *self.running], [], [])
            for descriptor in ready:
                if descriptor in self.running:
                    self.end(descriptor)
                elif (arguments := self.fork()) is not None:
                    return arguments

    def fork(self) -> list[str] | None:
        """Fork for a request, and return its arguments in the fork."""
        content, descriptors, _, _ = socket.recv_fds(self.requests, 1 << 20, 2)
        if not content:
            self.close()
        request, status, output = json.loads(content), socket.socket(fileno=descriptors[0]), descriptors[1]
        pid = os.fork()
        if pid == 0:
            self.requests.close()
            for descriptor, (_, other, _) in self.running.items():
                os.close(descriptor)
                other.close()
            become(request, output)
            for module, name, path in self.places:
                setattr(module, name, os.environ.get("HOME", "") + path)
            with status, contextlib.suppress(OSError):
                status.send(str(os.getpid()).encode())  # now that it has its session, it can be stopped
            return list(request["arguments"])
        os.close(output)
        self.running[os.pidfd_open(pid)] = pid, status, request["leashed"]
        return None

    def end(self, descriptor: int) -> None:
        """Report the exit code of a process that has ended."""
        pid, status, _ = self.running.pop(descriptor)
        with status, contextlib.suppress(OSError):  # whoever asked for it may have ended
            status.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
        os.close(descriptor)

    def close(self) -> None:
        """The parent has ended: kill the leashed processes, and end."""
        for pid, _, leashed in self.running.values():
            if leashed:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
        os._exit(0)


def at_home() -> Iterator[Place]:
    """Yield the module variables that hold a path in the home folder, with the rest of that path."""
    home = os.environ["HOME"]
    for module in sys.modules.values():
        for name, value in vars(module).items():
            if isinstance(value, str) and value.startswith(home):
                yield module, name, value.removeprefix(home)


def become(request: dict[str, Any], output: int) -> None:
    """Take on the folder, environment, output and session of a request."""
    if request["leashed"]:
        os.setsid()
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    os.chdir(request["folder"])
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))


def run(arguments: list[str]) -> None:
    """Do what `python ARGUMENTS` does."""
    if arguments[0] == "-m":
        sys.path[0] = str(Path.cwd())
        sys.argv[1:] = arguments[2:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(arguments[0]).resolve().parent)
        sys.argv[:] = arguments
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    server = Server(socket.socket(fileno=int(sys.argv[1])))
    server.warm(sys.argv[2:])
    run(server.serve())
