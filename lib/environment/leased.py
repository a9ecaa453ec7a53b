"""Run a script that ends with this process, however this process ends, and follow what it prints.

It needs the standard library of Python 3.8 alone: its source is also sent to the machine that trains.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

POLL_S = 0.1
GROUP_S = 3.0
# Ends a script, and what it started, when its input closes, which is when the process that started it has ended. The
# script ends by os._exit, because taking the modules of a training apart takes a quarter of its time. Before that,
# threading._shutdown does what it does at Python's end: executors, loky's too, end, and other threads are joined.
LEASED = """
import atexit, os, runpy, signal, sys, threading
def end():
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=end, daemon=True).start()
del sys.argv[0]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
threading._shutdown()
atexit._run_exitfuncs()
sys.stdout.flush()
sys.stderr.flush()
os._exit(0)
"""


class Ended(NamedTuple):
    """How a script ended: its exit code, the last line that it printed, and whether the time limit ended it."""

    code: int
    last: str
    late: bool


def run(
    python: str,
    script: Path,
    arguments: list[str],
    folder: Path | None,
    env: dict[str, str],
    limit_s: float,
    tell: Callable[[str], None],
) -> Ended:
    """Run a script in a folder, and report its output line by line."""
    return follow(start([python, "-u", "-c", LEASED, str(script), *arguments], folder, env), limit_s, tell)


@contextlib.contextmanager
def logged(
    log: Path, tell: Callable[[str], None], redact: Callable[[str], str] = str
) -> Iterator[Callable[[str], None]]:
    """Yield a function that writes each line to a log as well as reporting it, without secrets."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:

        def write(line: str) -> None:
            line = redact(line)
            if not line.startswith("\r"):  # an update of a progress bar
                file.write(f"{line}\n")
                file.flush()
            tell(line)

        yield write


def start(command: list[str], folder: Path | None, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a program with a separate process group, and an input by which LEASED notices the end of this process."""
    return subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def follow(process: subprocess.Popen[bytes], limit_s: float, tell: Callable[[str], None]) -> Ended:
    """Report each line of a process until it ends; kill it after the limit.

    A line that the process writes over again, as progress bars do, begins with a carriage return in the report.
    """
    late = threading.Event()

    def end() -> None:
        late.set()
        kill(process)

    timer = threading.Timer(limit_s, end)
    timer.start()
    last = ""
    with process:
        try:
            for line in io.TextIOWrapper(io.BufferedReader(Output(process)), errors="replace", newline=""):
                is_update = line.endswith("\r")
                if not is_update or line.strip():
                    tell(("\r" if is_update else "") + line.rstrip())
                last = line.strip() or last
            process.wait()
            wait_for_group(process)
        finally:
            timer.cancel()
            kill(process)  # with what it started, and left
    return Ended(process.returncode, last, late.is_set())


def wait_for_group(process: subprocess.Popen[bytes]) -> None:
    """Wait a moment until what a script started has ended: trackers of shared memory release it first."""
    end = time.monotonic() + GROUP_S
    with contextlib.suppress(ProcessLookupError, PermissionError):
        while time.monotonic() < end:
            os.killpg(process.pid, 0)
            time.sleep(POLL_S / 10)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class Limited(io.RawIOBase):
    """A pipe that raises TimeoutError if nothing comes for `limit_s`."""

    def __init__(self, descriptor: int, limit_s: float) -> None:
        self.descriptor = descriptor
        self.limit_s = limit_s

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Wait for the next bytes; 0 is the end."""
        if not select.select([self.descriptor], [], [], self.limit_s)[0]:
            raise TimeoutError
        part = os.read(self.descriptor, len(buffer))
        buffer[: len(part)] = part
        return len(part)


class Output(Limited):
    """What a process prints until it ends, even if a process that it left behind keeps its output open."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__(process.stdout.fileno() if process.stdout else -1, POLL_S)
        self.process = process

    def readinto(self, buffer: Any) -> int:
        """Wait for the next bytes; 0 is the end."""
        while True:
            over = self.process.poll() is not None  # asked before the read, so that what it printed last is not lost
            self.limit_s = 0 if over else POLL_S
            try:
                return super().readinto(buffer)
            except TimeoutError:
                if over:
                    return 0
