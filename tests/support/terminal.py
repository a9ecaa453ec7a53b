"""A program on a terminal: what it shows can be waited for, and it can be answered and interrupted."""

import contextlib
import os
import pty
import re
import select
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

INTERRUPT = "\x03"


class Terminal:
    """A pseudo-terminal with one program on it, which it controls: what is typed reaches it, Ctrl-C too."""

    def __init__(self, process: int, descriptor: int) -> None:
        self.process = process
        self.descriptor = descriptor
        self.shown = ""

    def read(self, wait_s: float) -> bool:
        """Take what is shown within some time; tell whether more may come."""
        ready, _, _ = select.select([self.descriptor], [], [], wait_s)
        if not ready:
            return True
        try:
            more = os.read(self.descriptor, 10000)
        except OSError:  # its program has ended
            return False
        self.shown += more.decode(errors="replace").replace("\r\n", "\n")
        return bool(more)

    def expect(self, pattern: str, limit_s: float = 60) -> None:
        """Wait until something is shown."""
        until = time.monotonic() + limit_s
        while not re.search(pattern, self.shown):
            assert time.monotonic() < until, f"{pattern} was not shown within {limit_s} s: {self.shown}"
            assert self.read(0.2), f"{pattern} was not shown: {self.shown}"

    def expect_prompt(self, pattern: str, limit_s: float = 60) -> None:
        """Wait until something is asked. A Ctrl-C between the prompt and the wait for an answer would be lost."""
        self.expect(pattern, limit_s)
        until = time.monotonic() + limit_s
        while Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < until, f"no answer was waited for within {limit_s} s: {self.shown}"

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def end(self, limit_s: float = 60) -> int:
        """Wait for the end of the program and return its exit code."""
        until = time.monotonic() + limit_s
        while self.read(0.2):
            assert time.monotonic() < until, f"it did not end within {limit_s} s: {self.shown}"
        code = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        self.process = 0
        return code


@contextlib.contextmanager
def terminal(*command: str, cwd: Path, environment: Mapping[str, str]) -> Iterator[Terminal]:
    """Run a program on a terminal, and end it."""
    process, descriptor = pty.fork()
    if process == 0:
        try:
            os.chdir(cwd)
            os.execve(command[0], command, dict(environment))  # noqa: S606 - there is no shell to be wanted
        finally:
            os._exit(127)
    made = Terminal(process, descriptor)
    try:
        yield made
    finally:
        if made.process:
            os.kill(made.process, 9)
            os.waitpid(made.process, 0)
        os.close(descriptor)
