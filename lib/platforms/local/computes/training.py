"""Run model/train.py, and other scripts, in a separate process."""

import sys
from pathlib import Path

from lib.environment import leased
from lib.environment.leased import Ended
from lib.errors import ReleaseError
from lib.forks.client import environ_without_secrets
from lib.platforms.base import Tell


def train(
    script: Path, arguments: list[str], folder: Path, limit_s: float, tell: Tell, python: str = sys.executable
) -> None:
    """Run the script in a folder. It writes outputs/ there, and what it prints goes to log.txt.

    Raises ReleaseError with the last line of the log if the script fails or takes longer than the limit.
    """
    log = folder / "log.txt"
    with leased.logged(log, tell) as report:
        ended = leased.run(python, script, arguments, folder, environ_without_secrets(), limit_s, report)
    check(script.name, ended, limit_s, log)


def check(name: str, ended: Ended, limit_s: float, log: Path) -> None:
    """Raise ReleaseError if a training failed or took too long."""
    if ended.late:
        raise ReleaseError(f"{name} took longer than train.timeout_s = {limit_s:g}\nThe log is {log}")
    if ended.code:
        raise ReleaseError(f"{name} failed with exit code {ended.code}: {ended.last}\nThe log is {log}")
