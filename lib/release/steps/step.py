"""What all steps share."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from lib import git
from lib.errors import SettingsError
from lib.forks.client import Forks
from lib.platforms import outputs
from lib.platforms.base import Platform
from lib.release.fingerprints import Change, Fingerprint, differences
from lib.release.records import Record, Records
from lib.settings import Settings

R = TypeVar("R", bound=Record)
# What a release is built from, besides its data: if these are committed, the commit describes the release.
SOURCES = ["config", "lib", "model", "service", "tasks.py", "requirements.txt"]
SCORING = "model/evaluation.py"  # evaluate depends on it, train only if a script imports it


@dataclass(frozen=True)
class Context:
    """What the tasks and steps work with. `tell` gets each line of a step's log, `ask` asks a yes-or-no question.

    `dirty` allows a platform that deploys committed files only to deploy uncommitted changes to production. `printed`
    has the output of commands that settings name.
    """

    settings: Settings
    platform: Platform
    records: Records
    forks: Forks
    tell: Callable[[str], None]
    ask: Callable[[str], bool]
    dirty: bool = False
    printed: dict[str, bytes] = field(default_factory=dict)

    @functools.cached_property
    def commit(self) -> str:
        """The project's commit (see Record), looked up once: git takes some milliseconds."""
        if trouble := git.trouble(self.settings.root):
            self.tell(f"Warning: the records will have no commit: {trouble}")
        data = self.settings.release.train.data
        return git.commit(self.settings.root, [*SOURCES, data] if data else SOURCES)


def holdout_of(context: Context, run_id: str) -> Path:
    """Return the hold-out for a run's model: the frozen file of `gate.holdout`, or else the run's own.

    Raises SettingsError if the frozen file does not exist.
    """
    if path := frozen_holdout(context):
        return path
    runs = context.platform.runs
    return runs.output(run_id, outputs.holdout_of(runs.outputs(run_id)) or outputs.HOLDOUTS[0])


def signature_of(context: Context, run_id: str) -> Path | None:
    """Return the signature of a run's model; None for runs of earlier releases."""
    runs = context.platform.runs
    return runs.output(run_id, outputs.SIGNATURE) if outputs.SIGNATURE in runs.outputs(run_id) else None


def frozen_holdout(context: Context) -> Path | None:
    """Return the file of `gate.holdout`, None without this setting. Raises SettingsError if it does not exist."""
    rule = context.settings.release.gate
    if not rule.holdout:
        return None
    path = context.settings.root / rule.holdout
    if not path.is_file():
        raise SettingsError(f'gate.holdout = "{rule.holdout}" in config/release.toml: there is no file {path}')
    return path


def variables_of(context: Context, target: str) -> dict[str, dict[str, str]]:
    """Return the variables of a service, for a process that runs its script without being the service."""
    settings = context.settings
    service = getattr(settings.release.services, target)
    secrets = settings.secrets_of(service.secrets)
    return {"env": service.env, "secrets": {name: secret.reveal() for name, secret in secrets.items()}}


class Step(Generic[R]):
    """One step. Its record hands its result to the steps after it."""

    name: str
    record: type[R]

    def inputs(self, _context: Context) -> Fingerprint:
        """Return the fingerprint of all files and settings that the result depends on."""
        return {}

    def missing(self, _context: Context, _record: R) -> str:
        """Ask the platform what of the result no longer exists; return an empty string if all of it does."""
        return ""

    def run(self, context: Context, inputs: Fingerprint, previous: str, forced: bool) -> R:
        """Do the step's work and return its record.

        `inputs` is the present fingerprint and `previous` the digest of the record before. The records of all earlier
        steps are there. If `forced`, an earlier result of the same inputs is not used again.
        """
        raise NotImplementedError

    def changes(self, context: Context, record: R) -> list[Change]:
        """Return the files and settings that have changed since a record was written."""
        return differences(record.inputs, self.inputs(context))


AnyStep = Step[Any]
