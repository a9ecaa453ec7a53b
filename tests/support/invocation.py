"""`invoke` without the second or five that its imports take: forked from a process that has done them.

What is forked is as good as new: it has its own arguments, folder, environment and output, imports lib/ from the
project's own copy, and ends as every interpreter does.
"""

import contextlib
import functools
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
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ("tasks", "lib.release.graph", "lib.terminal.progress", "lib.platforms.local.platform", "lib.report.page")
AZUREML = (*LOCAL, "lib.platforms.azureml.platform")
Place = tuple[ModuleType, str, str]
POSSIBLE = hasattr(os, "pidfd_open")  # Linux has it


class Invocation:
    """A process of `invoke`, which is used as a `subprocess.Popen` is."""

    def __init__(self, pid: int, status: socket.socket, stdout: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdout = os.fdopen(stdout, encoding="utf-8")
        self._status = status

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the exit code, which is negative after a signal. Raises TimeoutExpired."""
        if self.returncode is None:
            self._status.settimeout(timeout)
            try:
                self.returncode = int(self._status.recv(100))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired("invoke", timeout or 0) from None
        return self.returncode

    def communicate(self, timeout: float) -> tuple[str, None]:
        """Return what it still prints to its end. Raises TimeoutExpired."""
        content, end = b"", time.monotonic() + timeout
        while True:
            if not select.select([self.stdout], [], [], max(0, end - time.monotonic()))[0]:
                raise subprocess.TimeoutExpired("invoke", timeout)
            part = os.read(self.stdout.fileno(), 1 << 16)
            if not part:
                break
            content += part
        self.wait(max(0, end - time.monotonic()))
        return content.decode().replace("\r\n", "\n").replace("\r", "\n"), None

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, if it still runs."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> "Invocation":
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for its end, as the `with` of a `Popen` does."""
        self.stdout.close()
        self.wait()
        self._status.close()


Process = Invocation | subprocess.Popen[str]


class Server:
    """The process that imports ahead and forks; it ends with this one."""

    def __init__(self, modules: Iterable[str]) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="home-of-imports-"))
        self.requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.invocation", str(theirs.fileno()), *modules],
                cwd=ROOT,
                env=os.environ | {"HOME": str(self.home)},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )

    def start(self, arguments: Iterable[str], folder: Path, environment: dict[str, str]) -> Invocation:
        """Start `invoke`; both of its outputs go to the pipe that the process has as its `stdout`."""
        request = {"arguments": [*arguments], "folder": str(folder), "environment": environment}
        status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reading, writing = os.pipe()
        try:
            with theirs:
                socket.send_fds(self.requests, [json.dumps(request).encode()], [theirs.fileno(), writing])
        finally:
            os.close(writing)
        return Invocation(int(status.recv(100)), status, reading)


@functools.cache
def server(modules: tuple[str, ...]) -> Server:
    """Return the one process that has imported these modules."""
    return Server(modules)


def start(
    arguments: Iterable[str], folder: Path, environment: dict[str, str], modules: tuple[str, ...] = LOCAL
) -> Process:
    """Start `invoke` in a folder, with no input; what it prints can be read from its `stdout`.

    What the interpreter itself reads from the environment when it starts needs one that starts.
    """
    if POSSIBLE and python_settings(environment) == python_settings(os.environ):
        return server(modules).start(arguments, folder, environment)
    return subprocess.Popen(
        [sys.executable, "-m", "invoke", *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def python_settings(environment: Any) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith("PYTHON")}


# What follows is the server.


def main(requests: socket.socket, modules: list[str]) -> None:
    """Import, then fork for each request. Returns in a fork alone, which is then to run."""
    for name in ("invoke.main", *modules):
        importlib.import_module(name)
    # Each project has its own lib/: what was imported from ours only brought the packages that it needs.
    for name in [name for name in sys.modules if name.partition(".")[0] in ("lib", "tasks", "tests")]:
        del sys.modules[name]
    places = list(at_home())
    gc.collect()
    gc.freeze()  # a collection would touch, and so copy, all that the forks share
    running: dict[int, tuple[int, socket.socket]] = {}
    while True:
        ready, _, _ = select.select([requests.fileno(), *running], [], [])
        for descriptor in ready:
            if descriptor in running:
                end(descriptor, *running.pop(descriptor))
            elif not fork(requests, running, places):
                return


def fork(requests: socket.socket, running: dict[int, tuple[int, socket.socket]], places: list[Place]) -> bool:
    """Fork for a request. Returns False in the fork."""
    content, descriptors, _, _ = socket.recv_fds(requests, 1 << 20, 2)
    if not content:
        os._exit(0)  # whoever started us has gone
    status, output = socket.socket(fileno=descriptors[0]), descriptors[1]
    pid = os.fork()
    if pid == 0:
        for descriptor, (_, other) in running.items():
            os.close(descriptor)
            other.close()
        requests.close()
        status.close()
        become(json.loads(content), output, places)
        return False
    os.close(output)
    status.send(str(pid).encode())
    running[os.pidfd_open(pid)] = pid, status
    return True


def end(descriptor: int, pid: int, status: socket.socket) -> None:
    """Tell the exit code of a process that has ended."""
    with status, contextlib.suppress(OSError):  # nobody may want to know it any more
        status.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
    os.close(descriptor)


def become(request: dict[str, Any], output: int, places: list[Place]) -> None:
    """Be what was asked for: arguments, folder, environment and output."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    os.chdir(request["folder"])
    sys.path[0] = str(Path.cwd())
    sys.argv[1:] = request["arguments"]
    for module, name, path in places:
        setattr(module, name, os.environ.get("HOME", "") + path)


def at_home() -> Iterator[Place]:
    """Yield what modules worked out from the home folder when they were imported, without that folder."""
    home = os.environ["HOME"]
    for module in sys.modules.values():
        for name, value in vars(module).items():
            if isinstance(value, str) and value.startswith(home):
                yield module, name, value.removeprefix(home)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
    runpy.run_module("invoke", run_name="__main__", alter_sys=True)
