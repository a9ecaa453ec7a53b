"""What a platform is: four protocols (runs, models, images, services), and the plain data that they exchange.

A platform is mechanism only; which step comes next is decided elsewhere. Every method keeps these promises:

- It is safe to repeat: it uses what exists, and creates nothing twice.
- It reads back what it wrote: it returns what the platform has now, not what the caller asked for.
- It waits with a limit, which a setting names, and then raises ReleaseError with the setting's name.
- It raises ReleaseError for whatever a user can cause, and returns None if `find` finds nothing.
- It changes nothing that it did not create.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from lib.errors import RefusedError
from lib.forms import Form
from lib.settings import Compute, Parameter, Secret, Service

Tell = Callable[[str], None]
Ask = Callable[[str], bool]
KeyName = Literal["primary", "secondary"]
KEY_NAMES: tuple[KeyName, KeyName] = ("primary", "secondary")


def key_from_env(service: Service, key: KeyName) -> RefusedError:
    """Return the refusal to renew a key that .env sets: it would come back with the next release."""
    return RefusedError(
        f"the {key} key of {service.name} comes from .env\n"
        f"Change SCORING_KEY_{key.upper()} there, then `invoke release`"
    )


class Plain(msgspec.Struct, frozen=True, kw_only=True):
    """Plain data."""


class Job(Plain, frozen=True):
    """A training run to start. Its fingerprint finds it again. `data` is a file on this machine to train on.

    `options` has the names of parameters that model/train.py spells in another way. `complete` is called with the
    folder of the outputs and the metrics that the script has logged: it checks the outputs, and writes those that the
    script may leave out. It raises ReleaseError.
    `secrets` are variables for the script alone; `redact` takes them out of a line that it prints.
    """

    experiment: str
    compute: str
    parameters: dict[str, Parameter]
    fingerprint: str
    commit: str
    timeout_s: float
    data: Path | None = None
    options: dict[str, str] = {}
    complete: Callable[[Path, dict[str, float]], None] = lambda _outputs, _logged: None
    secrets: dict[str, Secret] = {}
    redact: Callable[[str], str] = str

    def arguments(self, data: Path | str | None) -> list[str]:
        """Return the arguments of model/train.py: the parameters, and the path of the data on the training machine.

        `true` becomes a flag, `false` nothing, and a list one argument for each of its values.
        """
        values: dict[str, Parameter] = self.parameters | ({} if data is None else {"data": str(data)})
        return [part for name, value in values.items() for part in self._argument(name, value)]

    def _argument(self, name: str, value: Parameter) -> list[str]:
        option = self.options.get(name, f"--{name}")
        if isinstance(value, bool):
            return [option] if value else []
        return [option, *map(str, value if isinstance(value, list) else [value])]


class Place(Plain, frozen=True):
    """Where a run trained: compute, machine, Python version, and the environment that was created for it."""

    compute: str = "local"
    host: str = ""
    python: str = ""
    environment: str = ""


class Run(Plain, frozen=True):
    """A completed run. `outputs` maps each output file to its sha256."""

    run_id: str
    place: Place
    metrics: dict[str, float]
    outputs: dict[str, str]


class ModelVersion(Plain, frozen=True):
    """A registered model. Versions count from 1, and a number is never used twice."""

    name: str
    version: int
    sha256: str
    run_id: str
    created_at: str
    tags: dict[str, str]


class Production(Plain, frozen=True):
    """A version that is, or was, in production: since when, and on what evidence."""

    version: int
    image: str
    since: str
    evidence: dict[str, str]


class Build(Plain, frozen=True):
    """An image to build from the files of a folder: its digest, its model version and its commit."""

    digest: str
    folder: Path
    model_name: str
    model_version: int
    commit: str


class Deployment(Plain, frozen=True):
    """A version to serve: its image, and rows with the predictions that it must return before it takes over."""

    service: Service
    image: str
    model_name: str
    model_version: int
    rows: list[Any]
    predictions: list[Any]
    form: Form = Form()


class WebService(Plain, frozen=True):
    """A web service as it is now, and the engine that runs it.

    `trouble` is why it does not serve as it should, or empty. A service can be "serving" with trouble: the version
    that was deployed answers, but the settings have changed. "stopped" means by `invoke stop`.
    """

    name: str
    scoring_uri: str
    image: str
    model_version: int
    engine: str
    state: Literal["serving", "stopped", "down"]
    trouble: str = ""


class Resource(Plain, frozen=True):
    """Something that was created and can be removed. `used` is True if another existing thing needs it."""

    kind: Literal["service", "image", "model", "compute", "workspace"]
    name: str
    detail: str
    used: bool = False


class Finding(Plain, frozen=True):
    """A check's result. `fix` is what must be done before a release, `hint` what may be done; else all is well."""

    what: str
    fix: str = ""
    hint: str = ""

    @property
    def state(self) -> Literal["ok", "hint", "fix"]:
        """Return the state of the finding."""
        return "fix" if self.fix else "hint" if self.hint else "ok"


class Runs(Protocol):
    """Training runs. A run belongs to the fingerprint of its job."""

    def find(self, fingerprint: str) -> Run | None:
        """Return the newest completed run with this fingerprint; None if there is none. Changes nothing."""

    def train(self, job: Job, tell: Tell) -> Run:
        """Run model/train.py to its end, pass each line of its log to `tell`, and return the completed run.

        Idempotent: an unfinished run of the same fingerprint is continued, not started again. Reads back: metrics and
        outputs are those that the platform keeps. Limit: `job.timeout_s`. Raises ReleaseError if the run fails, leaves
        no complete outputs, or exceeds its limit; no such run is ever found again.
        """

    def running(self, fingerprint: str) -> str | None:
        """Return the id of a run that continues without the process that started it; None if there is none."""

    def cancel(self, run_id: str) -> None:
        """Cancel a run. Idempotent: a run that has ended stays as it is."""

    def outputs(self, run_id: str) -> dict[str, str]:
        """Return the outputs of a completed run with their sha256. Raises ReleaseError if the run does not exist."""

    def model(self, run_id: str) -> Path:
        """Return a run's model on this machine under its own name, verified: a file, or the folder `model`."""

    def output(self, run_id: str, filename: str) -> Path:
        """Return a run's output file on this machine, verified by its digest.

        Raises ReleaseError if the run or the file does not exist, or if the file is damaged.
        """


class Models(Protocol):
    """The versions of the model that the settings name, and the production pointer."""

    def find(self, version: int) -> ModelVersion | None:
        """Return a version; None if it does not exist. Changes nothing."""

    def versions(self) -> list[ModelVersion]:
        """Return all versions, the oldest first."""

    def register(self, run_id: str, tags: dict[str, str]) -> ModelVersion:
        """Register a run's model as a new version, and return it as the registry has it.

        Idempotent by content: a model with the same bytes keeps its version and tags. Version numbers are never used
        again, not even after a version was removed. Raises ReleaseError if the run does not exist.
        """

    def file(self, version: int) -> Path:
        """Return a version's model on this machine under its own name, verified: a file, or the folder `model`.

        Raises ReleaseError if the version does not exist, or if one of its files is damaged.
        """

    def production(self) -> Production | None:
        """Return what is in production; None if nothing ever was."""

    def promote(self, production: Production) -> None:
        """Move the production pointer in one write. Idempotent: nothing happens if it already points there."""

    def history(self) -> list[Production]:
        """Return everything that was in production, the newest first."""


class Images(Protocol):
    """Scoring images, each named by the digest of its content."""

    def find(self, digest: str) -> str | None:
        """Return the location of an image; None if it is not built. Changes nothing."""

    def content(self, digest: str) -> Path:
        """Return a folder on this machine with an image's content, which the caller verifies.

        The folder has no model if the platform keeps the model in its registry only. Raises ReleaseError if the image
        does not exist.
        """

    def build(self, build: Build, tell: Tell) -> str:
        """Build an image, report the progress to `tell`, and return its location.

        Idempotent by digest. Limit: the platform's `build_timeout_s`. Raises ReleaseError with the end of the build's
        log; an interrupted build leaves no image.
        """

    def require_builder(self) -> None:
        """Raise ReleaseError if images cannot be built: a release asks before it trains. Changes nothing."""

    def settings(self) -> dict[str, dict[str, Any]]:
        """Return the settings that an image depends on only on this platform, by their section in release.toml."""


class Services(Protocol):
    """Web services. Each is found again by the name in its settings."""

    def find(self, service: Service) -> WebService | None:
        """Ask a service with both of its keys, and return its present state; None if it was never deployed."""

    def deploy(self, deployment: Deployment) -> WebService:
        """Create or update a service without losing a request, and return it as it answers.

        Idempotent: a service that answers as asked stays untouched. The new version is checked (who answers, and what
        it predicts) before it takes over or, if the platform can only replace in place, right after. Limit: the
        platform's start or deployment timeout. Raises UnhealthyError if the new version does not answer as it should;
        the previous version then keeps serving, or is put back.
        """

    def keys(self, service: Service) -> tuple[Secret, Secret]:
        """Return the primary and the secondary key of a service."""

    def renew_key(self, service: Service, key: KeyName) -> bool:
        """Replace one key of a service by a new one. The other key stays valid all the time.

        A running service accepts the new key, and refuses the old one, when this returns. Reads back: returns whether
        the service runs. One that does not run accepts the new key when it starts. Raises RefusedError if .env sets
        the key, UnhealthyError if the running service does not change its keys.
        """

    def adopt(self, service: Service) -> str:
        """Take over a service that someone else deployed, and return a description. It keeps serving as it does.

        Idempotent. Raises ReleaseError if the service does not exist, RefusedError if it cannot be taken over.
        """

    def stranger(self, service: Service) -> str:
        """Return what occupies a service's address and is not the service as this workspace knows it, or ""."""

    def start(self, service: Service) -> WebService | None:
        """Start a service again with the version that it had, and return it; None if it was never deployed.

        Idempotent: a service that serves stays untouched. Limit: the platform's start timeout. Raises UnhealthyError
        if it does not start.
        """

    def stop(self, service: Service) -> None:
        """Stop a service. Idempotent: nothing happens if it does not run."""


class Platform(Protocol):
    """One workspace of one platform.

    `computes` are the computes that it can train on. `stop_deletes` says whether stopping a service deletes it,
    `committed_only` whether production is deployed from committed files only.
    """

    name: str
    computes: tuple[Compute, ...]
    stop_deletes: bool
    committed_only: bool

    @property
    def runs(self) -> Runs:
        """The training runs."""

    @property
    def models(self) -> Models:
        """The model registry."""

    @property
    def images(self) -> Images:
        """The scoring images."""

    @property
    def services(self) -> Services:
        """The web services."""

    def check(self) -> Iterator[Finding]:
        """Check what a release will need. Changes nothing; yields findings instead of raising."""

    def locked(self, task: str) -> AbstractContextManager[None]:
        """Hold the workspace's lock for a task, against releases on other machines.

        Raises RefusedError with its present holder, and since when.
        """

    def warnings(self) -> list[str]:
        """Return what is doubtful in the settings, for the start of every release. Asks nobody."""

    def preflight(self) -> None:
        """Check before a training what would stop its release at the end. Changes nothing.

        Raises RefusedError for a resource that belongs to others, SettingsError for one of the wrong kind.
        """

    def workspace(self) -> str:
        """Get the workspace, or create it if the settings allow that, and return a description."""

    def attach(self, ask: Ask) -> str:
        """Attach the VM of .env to the workspace, and return a description. Idempotent.

        `ask` decides whether an unknown machine is the right one. Raises RefusedError if it says no.
        """

    def resources(self) -> list[Resource]:
        """Return what was created in this workspace."""

    def remove(self, resource: Resource) -> str:
        """Remove one created thing. Idempotent. Return what remains of it and why, or an empty string."""

    def close(self) -> None:
        """Release what this process holds: connections and open files."""
