"""Run model/train.py, and other scripts, in a separate process."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from lib.errors import ReleaseError
from lib.forks.client import environ_without_secrets
from lib.platforms.base import Tell
from lib.platforms.local.computes.both_sides import LEASED, Ended, follow, start


def train(
    script: Path, arguments: list[str], folder: Path, limit_s: float, tell: Tell, python: str = sys.executable
) -> None:
    """Run the script in a folder. It writes outputs/ there, and what it prints goes to log.txt.

    Raises ReleaseError with the last line of the log if the script fails or takes longer than the limit.
    """
    log = folder / "log.txt"
    check(script.name, run_leased(python, script, arguments, folder, log, limit_s, tell), limit_s, log)


def check(name: str, ended: Ended, limit_s: float, log: Path) -> None:
    """Raise ReleaseError if a training failed or took too long."""
    if ended.late:
        raise ReleaseError(f"{name} took longer than train.timeout_s = {limit_s:g}\nThe log is {log}")
    if ended.code:
        raise ReleaseError(f"{name} failed with exit code {ended.code}: {ended.last}\nThe log is {log}")


def run_leased(
    python: str, script: Path, arguments: list[str], folder: Path, log: Path, limit_s: float, tell: Tell
) -> Ended:
    """Run a script that ends with this process, however this process ends; write and report its output line by line."""
    with logged(log, tell) as tell_and_log:
        process = start([python, "-u", "-c", LEASED, str(script), *arguments], folder, environ_without_secrets())
        return follow(process, limit_s, tell_and_log)


@contextlib.contextmanager
def logged(log: Path, tell: Tell) -> Iterator[Tell]:
    """Yield a function that writes each line to a log as well as reporting it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:

        def write(line: str) -> None:
            if not line.startswith("\r"):  # an update of a progress bar
                file.write(f"{line}\n")
                file.flush()
            tell(line)

        yield write
