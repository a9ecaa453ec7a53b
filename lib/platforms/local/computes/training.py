"""Run model/train.py, and other scripts, in a separate process."""

from pathlib import Path

from lib.environment import leased
from lib.environment.leased import Ended
from lib.errors import ReleaseError
from lib.platforms import logged_metrics
from lib.platforms.base import Job, Tell


def train(job: Job, folder: Path, tell: Tell, python: str, env: dict[str, str]) -> None:
    """Run a folder's train.py there. It writes outputs/, and what it prints goes to log.txt.

    Raises ReleaseError with the last line of the log if the script fails or takes longer than the limit.
    """
    log, script, arguments = folder / "log.txt", folder / "train.py", job.arguments(job.data)
    variables = logged_metrics.VARIABLES | env | {name: secret.reveal() for name, secret in job.secrets.items()}
    with leased.logged(log, tell, job.redact) as report:
        ended = leased.run(python, script, arguments, folder, variables, job.timeout_s, report)
    check(script.name, ended, job.timeout_s, log)


def check(name: str, ended: Ended, limit_s: float, log: Path) -> None:
    """Raise ReleaseError if a training failed or took too long."""
    if ended.late:
        raise ReleaseError(f"{name} took longer than train.timeout_s = {limit_s:g}\nThe log is {log}")
    if ended.code:
        raise ReleaseError(f"{name} failed with exit code {ended.code}: {ended.last}\nThe log is {log}")
