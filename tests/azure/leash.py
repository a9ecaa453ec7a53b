"""Child processes that end with this one, however it ends: each runs under a watcher that reads a pipe of ours."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

GRACE_S = 3


class Child:
    """A command and everything that it starts, ended together."""

    def __init__(self, command: list[str], log: Path | None = None, **options: Any) -> None:
        output = log.open("ab") if log else None
        self.watcher = subprocess.Popen(
            [sys.executable, "-ISE", __file__, *command],
            stdin=subprocess.PIPE,
            stdout=output or subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )
        if output:
            output.close()

    @property
    def output(self) -> Any:
        """The command's output, if it does not go to a log."""
        return self.watcher.stdout

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the command to end and return its exit code."""
        return self.watcher.wait(timeout)

    def running(self) -> bool:
        """Say whether the command still runs."""
        return self.watcher.poll() is None

    def stop(self) -> None:
        """End the command and what it started."""
        if self.watcher.stdin:
            self.watcher.stdin.close()
        self.watcher.wait()
        if self.watcher.stdout:
            self.watcher.stdout.close()


def watch(command: list[str]) -> int:
    """Run a command; end its whole session when the pipe at our standard input closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def end() -> None:
        os.read(0, 1)
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, number)
                process.wait(GRACE_S)
            except (subprocess.TimeoutExpired, ProcessLookupError):
                continue

    threading.Thread(target=end, daemon=True).start()
    code = process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return code


if __name__ == "__main__":
    sys.exit(watch(sys.argv[1:]) % 256)
