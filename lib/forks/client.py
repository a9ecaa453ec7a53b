"""A warm interpreter: imports the packages of model/ and service/ once, then forks for each call.

Nearly all the time of a release is imports. Here they happen once, on another core, while the training runs; what is
called still has a process of its own. A call ends with the process that asked for it, even when that is killed.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lib.errors import ReleaseError
from lib.settings import SECRETS

LIMIT_S = 300.0


class CallError(ReleaseError):
    """The called code raised; the message says what and where, the log has the traceback."""


class Interpreter:
    """Starts at the first call, or earlier by `start` so that it is warm when it is needed."""

    def __init__(self, root: Path, log: Path) -> None:
        self.root = root
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None

    def start(self) -> socket.socket:
        """Start warming up, and return at once."""
        if self._requests is None:
            self._requests, theirs = socket.socketpair()
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with theirs, self.log.open("ab") as log:
                # A session of its own keeps Ctrl-C away; the closed socket ends it.
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "lib.forks.server", str(theirs.fileno())],
                    cwd=self.root,
                    env=environment(),
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        return self._requests

    def call(self, function: str, limit_s: float = LIMIT_S, **arguments: Any) -> Any:
        """Call `module:function` in a fork and return its result, which must be JSON.

        Raises CallError where it raises, dies, or takes longer than the limit.
        """
        with contextlib.closing(self.spawn(function, self.log, {}, **arguments)) as channel:
            channel.settimeout(limit_s)
            try:
                return result(receive(channel), function, self.log)
            except TimeoutError:
                raise CallError(f"{function} gave no answer within {limit_s:g} s; its log is {self.log}") from None

    def spawn(self, function: str, log: Path, environment: dict[str, str], **arguments: Any) -> socket.socket:
        """Call `module:function` in a fork that writes to a log, and return the channel to it.

        The fork ends when the channel is closed, unless its function takes the channel over.
        """
        requests = self.start()
        ours, theirs = socket.socketpair()
        request = {"function": function, "environment": environment, "arguments": arguments}
        log.parent.mkdir(parents=True, exist_ok=True)
        with theirs, log.open("ab") as file:
            try:
                socket.send_fds(requests, [json.dumps(request).encode() + b"\n"], [theirs.fileno(), file.fileno()])
            except OSError:
                ours.close()
                raise CallError(f"the interpreter for {function} has died; its log is {self.log}") from None
        return ours

    def close(self) -> None:
        """End it, and wait until it has ended."""
        if self._requests and self._process:
            self._requests.close()
            self._process.kill()
            self._process.wait()
            self._requests = self._process = None


@contextlib.contextmanager
def opened(root: Path, log: Path) -> Iterator[Interpreter]:
    """Give an interpreter that ends with the block."""
    interpreter = Interpreter(root, log)
    try:
        yield interpreter
    finally:
        interpreter.close()


def receive(channel: socket.socket) -> dict[str, Any]:
    """Read one line of JSON; an empty dict where the other end has gone. Raises TimeoutError."""
    content = b""
    while not content.endswith(b"\n"):
        part = channel.recv(1 << 16)
        if not part:
            return {}
        content += part
    return dict(json.loads(content))


def result(answer: dict[str, Any], function: str, log: Path) -> Any:
    """Return what a call returned, or raise what it raised."""
    if not answer:
        raise CallError(f"{function} ended without an answer (killed, or out of memory?); its log is {log}")
    if "error" in answer:
        raise CallError(f"{answer['error']}\nThe traceback is in {log}")
    return answer["result"]


def environment() -> dict[str, str]:
    """Return the environment for a process of the user's code: this one's, without secrets."""
    return {name: value for name, value in os.environ.items() if name not in SECRETS}
