"""A process in the model's environment that imports the packages of model/ and service/ once, then forks for each call.

Most of a release's time is spent importing libraries. This process imports them once, on another core, while the
training runs; each call still runs in a separate process. A fork ends when the process that called it ends, even if
that process is killed.
"""

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from lib.environment.lock import Lock
from lib.environment.model import ModelEnvironment
from lib.errors import ReleaseError
from lib.forks import causes
from lib.settings import SECRETS

LIMIT_S = 300.0

P = ParamSpec("P")
T = TypeVar("T")


class CallError(ReleaseError):
    """The called function failed. The message says what was raised and where; the log has the traceback."""


class Forks:
    """Calls functions in forks of one warm process, which starts at the first call or earlier by `warm`.

    A function must be at the top level of an importable module; its arguments and its result must be JSON. It does not
    receive the environment variables in `private`. `limit_s` is how long a call may take. Leaving the `with` block ends
    the process.
    """

    def __init__(
        self, root: Path, log: Path, environment: ModelEnvironment, private: Collection[str] = SECRETS
    ) -> None:
        self.root = root
        self.private = private
        self.log = log
        self.environment = environment
        self.limit_s = LIMIT_S
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        self._others: dict[str, Forks] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def warm(self) -> None:
        """Start importing in the background, and return immediately."""
        self._connect()

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in a fork and return its result. Raises CallError if it raises, dies or exceeds the limit."""
        name = _name(function)
        with contextlib.closing(self._send(name, self.log, {}, False, args, kwargs)) as channel:
            channel.settimeout(self.limit_s)
            try:
                result: T = result_of(receive(channel), name, self.log)
            except TimeoutError:
                raise CallError(f"{name} did not finish within {self.limit_s:g} s\nIts log is {self.log}") from None
            return result

    def spawn(
        self,
        function: Callable[Concatenate[socket.socket, P], Any],
        log: Path,
        env: dict[str, str],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> socket.socket:
        """Call a function in a fork without waiting for it, and return the channel to the fork.

        The function gets its end of the channel as its first argument and decides itself when to end. It writes to
        `log`; `env` is added to its environment.
        """
        return self._send(_name(function), log, env, True, args, kwargs)

    def of(self, locked: Lock) -> "Forks":
        """Return forks in the environment of a lock: these, or others that end with these."""
        if self.environment.has(locked):
            return self
        if locked.digest not in self._others:
            self._others[locked.digest] = Forks(self.root, self.log, self.environment.of(locked), self.private)
        return self._others[locked.digest]

    def close(self) -> None:
        """End the process, and wait until it has ended."""
        for forks in self._others.values():
            forks.close()
        if self._requests and self._process:
            self._requests.close()
            self._process.kill()
            self._process.wait()
            self._requests = self._process = None

    def _connect(self) -> socket.socket:
        """Start the process unless it runs, and return the socket for requests to it."""
        if self._requests is None:
            self._requests, theirs = socket.socketpair()
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with theirs, self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    [self.environment.python(), "-m", "lib.forks.server", str(theirs.fileno())],
                    cwd=self.root,
                    env=environ_without(self.private),
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    # A separate session, so that Ctrl-C does not reach it: it ends when our end of the socket closes.
                    start_new_session=True,
                )
        return self._requests

    def _send(
        self, function: str, log: Path, env: dict[str, str], takes_channel: bool, args: Any, kwargs: dict[str, Any]
    ) -> socket.socket:
        """Ask for a fork, and return the channel to it."""
        requests = self._connect()
        ours, theirs = socket.socketpair()
        request = {"function": function, "env": env, "takes_channel": takes_channel, "args": args, "kwargs": kwargs}
        log.parent.mkdir(parents=True, exist_ok=True)
        with theirs, log.open("ab") as file:
            try:
                # The fork inherits its end of the channel and its log as open files: it needs no path and no port.
                socket.send_fds(requests, [json.dumps(request).encode() + b"\n"], [theirs.fileno(), file.fileno()])
            except OSError:
                ours.close()
                raise CallError(f"the process that runs {function} has died\nIts log is {self.log}") from None
        return ours


def receive(channel: socket.socket) -> dict[str, Any]:
    """Read one line of JSON; return an empty dict if the other end has closed. Raises TimeoutError."""
    content = b""
    while not content.endswith(b"\n"):
        try:
            part = channel.recv(1 << 16)
        except ConnectionError:  # killed while it still had something to read
            return {}
        if not part:
            return {}
        content += part
    return dict(json.loads(content))


def result_of(answer: dict[str, Any], function: str, log: Path) -> Any:
    """Return the result of a call from its answer. Raises CallError if the answer is an error or empty."""
    if not answer:
        cause = causes.crash_in(log) or "something killed its process, perhaps because memory was short"
        raise CallError(f"{function} ended without a result: {cause}\nIts log is {log}")
    if "error" in answer:
        raise CallError(f"{answer['error']}\nThe traceback is in {log}")
    return answer["result"]


def environ_without(private: Collection[str] = SECRETS) -> dict[str, str]:
    """Return the environment without some variables, for a process that runs the owner's code."""
    return {name: value for name, value in os.environ.items() if name not in private}


def _name(function: Callable[..., Any]) -> str:
    return f"{function.__module__}:{function.__qualname__}"
