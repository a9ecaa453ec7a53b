"""Containers of services: Azure's own inference server in a separate process on 127.0.0.1, and their replacement."""

import contextlib
import functools
import http.client
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from lib.forks.server import SERVER
from tests.azure.contents import Contents
from tests.azure.leash import Child
from tests.azure.state import State, new_id
from tests.support import warm

LIMIT_S = 120
DRAIN_S = 30
PERIOD_S = 0.05
APPLICATION = "azureml_inference_server_http.server.entry:app"
NO_SERVER = "exec: gunicorn: not found"
TRAINING = ("sklearn.datasets", "sklearn.metrics", "sklearn.model_selection")
CRASH = "def init():\n    raise RuntimeError({message!r})\n\n\ndef run(data):\n    return data\n"


@functools.cache
def python(executable: str) -> warm.Python:
    """Return a Python that has imported scikit-learn and the server's modules that read no settings when imported."""
    modules = [*SERVER, "gunicorn.app.wsgiapp", "joblib", "sklearn.linear_model", *TRAINING]
    return warm.Python(modules, executable)


class CrashError(Exception):
    """The container ended, or did not become ready; the message is the end of its log."""


class Container:
    """An image that runs."""

    def __init__(self, state: State, contents: Contents, variables: dict[str, str], crash: str = "") -> None:
        self.contents, self.requests, self.template = contents, 0, ""
        self.port = free_port()
        self.log = state.folder / "containers" / f"{new_id()}.log"
        self.log.parent.mkdir(exist_ok=True)
        environment = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
        environment |= {"HOME": str(contents.root), "PYTHONDONTWRITEBYTECODE": "1"} | contents.environment | variables
        if crash:
            (contents.root / "crash.py").write_text(CRASH.format(message=crash))
            environment["AZUREML_ENTRY_SCRIPT"] = "crash.py"
        if not contents.has_server:
            self.log.write_text(f"{NO_SERVER}\n")
        bind = ("--bind", f"127.0.0.1:{self.port}", "--workers", environment.get("WORKER_COUNT", "1"))
        server = ["-m", "gunicorn", *bind, "--timeout", "300", APPLICATION]
        self.child: Child | warm.Process
        if contents.has_server and warm.POSSIBLE:
            with self.log.open("ab") as log:
                self.child = warm.Process(
                    *python(contents.python).start(server, contents.root, environment, log.fileno(), leashed=True)
                )
        else:
            command = [contents.python, *server] if contents.has_server else ["false"]
            self.child = Child(command, self.log, cwd=contents.root, env=environment)
        state.at_exit.append(self.child.stop)

    def wait(self) -> None:
        """Wait until it is ready. Raises CrashError."""
        limit = time.monotonic() + LIMIT_S
        while time.monotonic() < limit and self.child.running():
            if self.answers():
                return
            time.sleep(PERIOD_S)
        self.stop()
        raise CrashError("\n".join(self.log.read_text(errors="replace").splitlines()[-30:]))

    def answers(self) -> bool:
        """Say whether the server answers, which it does as soon as init() is done."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        """End it."""
        self.child.stop()


class Serving:
    """What answers for a service: one container after the other, without losing a request in between."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.container: Container | None = None
        self.logs: list[Path] = []

    @contextlib.contextmanager
    def use(self) -> Iterator[Container | None]:
        """Hold on to the container that answers now, for the time of one request."""
        with self.condition:
            used = self.container
            if used:
                used.requests += 1
        try:
            yield used
        finally:
            with self.condition:
                if used:
                    used.requests -= 1
                self.condition.notify_all()

    def replace(self, new: Container | None) -> None:
        """Let another container answer, or none, and stop the one before when it has answered all it was asked."""
        with self.condition:
            old, self.container = self.container, new
            if old is None or old is new:
                return
            self.condition.wait_for(lambda: old.requests == 0, DRAIN_S)
        old.stop()


def free_port() -> int:
    """Return a port that nothing listens on, and that the system gives to no client meanwhile."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
