"""The version of data that are not a file: what the command of `train.data_version` prints, or "always" a new one."""

import os
import subprocess

from lib.clock import now
from lib.errors import ReleaseError
from lib.files import digest, source_files
from lib.forks.client import environ_without
from lib.release.fingerprints import FILE, Fingerprint
from lib.release.steps.step import Context
from lib.settings import Settings

ALWAYS = "always"
PIPELINES = ("GITHUB_RUN_ID", "BUILD_BUILDID")  # the jobs of one pipeline must agree
LIMIT_S = 60.0


def fingerprint(context: Context) -> Fingerprint:
    """Fingerprint the version of the data; empty without the setting. Raises ReleaseError if the command fails."""
    command = context.settings.release.train.data_version
    if not command:
        return {}
    if command == ALWAYS:
        run = next((os.environ[name] for name in PIPELINES if os.environ.get(name)), now())
        return {"train.data_version": f'"{ALWAYS}, {run}"'}
    if command not in context.printed:  # asked once for a task
        context.printed[command] = _printed(context, command)
    return {"train.data_version": f"{FILE}{digest(context.printed[command])}"}


def is_unknown(settings: Settings) -> bool:
    """Return whether data could change without making the training stale.

    That is so without `train.data_version`, if the training receives a secret, with which it may read a database, or if
    it has no file with data.
    """
    train = settings.release.train
    has_file = bool(train.data) or any(path.suffix != ".py" for path in source_files(settings.root / "model"))
    return not train.data_version and (bool(train.secrets) or not has_file)


def _printed(context: Context, command: str) -> bytes:
    """Run a command in the project's folder, and return what it prints."""
    settings = context.settings
    secrets = settings.secrets_of(settings.release.train.secrets)
    env = environ_without(settings.private) | {name: secret.reveal() for name, secret in secrets.items()}
    what = f'train.data_version = "{command}" in config/release.toml'
    try:
        done = subprocess.run(
            ["sh", "-c", command], cwd=settings.root, env=env, capture_output=True, check=False, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        raise ReleaseError(f"{what}: it did not end within {LIMIT_S:g} s") from None
    if done.returncode:
        last = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-1:]
        raise ReleaseError(f"{what} failed with exit code {done.returncode}: {' '.join(last)}")
    return done.stdout.strip()
