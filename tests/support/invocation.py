"""Start `invoke` for a test: as a fork of a process that has already imported its libraries, or as a new process."""

import functools
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.support import warm

LOCAL = (
    "invoke.main",
    "tasks",
    "lib.release.graph",
    "lib.terminal.progress",
    "lib.platforms.local.platform",
    "lib.report.page",
)
AZUREML = (*LOCAL, "lib.platforms.azureml.platform")


class Invocation(warm.Process):
    """A process whose output can be read."""

    def __init__(
        self, arguments: Iterable[str], folder: Path, environment: dict[str, str], modules: tuple[str, ...]
    ) -> None:
        reading, writing = os.pipe()
        self.stdout = os.fdopen(reading, encoding="utf-8")
        try:
            super().__init__(*python(modules).start(arguments, folder, environment, writing))
        finally:
            os.close(writing)

    def communicate(self, timeout: float) -> tuple[str, None]:
        """Return what it still prints to its end. Raises TimeoutExpired."""
        content, end = b"", time.monotonic() + timeout
        while True:
            if not select.select([self.stdout], [], [], max(0, end - time.monotonic()))[0]:
                raise subprocess.TimeoutExpired("python", timeout)
            part = os.read(self.stdout.fileno(), 1 << 16)
            if not part:
                break
            content += part
        self.wait(max(0, end - time.monotonic()))
        return content.decode().replace("\r\n", "\n").replace("\r", "\n"), None

    def __enter__(self) -> "Invocation":
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for its end, as the `with` of a `Popen` does."""
        self.stdout.close()
        self.wait()


Process = Invocation | subprocess.Popen[str]


@functools.cache
def python(modules: tuple[str, ...]) -> warm.Python:
    """Return the one Python that has imported these modules."""
    return warm.Python(modules)


def start(arguments: Iterable[str], folder: Path, environment: dict[str, str], modules: tuple[str, ...]) -> Process:
    """Start `python ARGUMENTS` in a folder, with no input; what it prints can be read from its `stdout`.

    A new interpreter starts if the environment has settings that an interpreter reads when it starts.
    """
    if warm.POSSIBLE and of_python(environment) == of_python(os.environ):
        return Invocation(arguments, folder, environment, modules)
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def of_python(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith("PYTHON")}
