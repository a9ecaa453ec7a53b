"""What a platform is: mechanism only. It gets or creates, is safe to repeat, waits with a limit, returns plain data."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from lib.settings import Compute, Secret, Service

Tell = Callable[[str], None]
Ask = Callable[[str], bool]


class Plain(msgspec.Struct, frozen=True, kw_only=True):
    """Plain data."""


class Job(Plain, frozen=True):
    """A training run to be made; its fingerprint finds it again. `data` is a file on this machine to train on."""

    experiment: str
    compute: str
    parameters: dict[str, int | float | str]
    fingerprint: str
    commit: str
    timeout_s: float
    data: Path | None = None

    def arguments(self, data: Path | str | None) -> list[str]:
        """Return the arguments of model/train.py: the parameters, and the data as it is named where it runs."""
        given = self.parameters | ({} if data is None else {"data": str(data)})
        return [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]


class Place(Plain, frozen=True):
    """Where a run trained: the compute, the machine, its Python's version, and the environment that was made for it."""

    compute: str = "local"
    host: str = ""
    python: str = ""
    environment: str = ""


class Run(Plain, frozen=True):
    """A completed run; `outputs` maps each file it left to its sha256."""

    run_id: str
    place: Place
    metrics: dict[str, float]
    outputs: dict[str, str]


class ModelVersion(Plain, frozen=True):
    """A registered model; versions count from 1 and are never given twice."""

    name: str
    version: int
    sha256: str
    run_id: str
    created_at: str
    tags: dict[str, str]


class Production(Plain, frozen=True):
    """What is, or was, in production since when, and on what evidence."""

    version: int
    image: str
    since: str
    evidence: dict[str, str]


class Build(Plain, frozen=True):
    """An image to be built from the files of a folder: its digest, and what it is an image of."""

    digest: str
    folder: Path
    model_name: str
    model_version: int
    commit: str


class Deployment(Plain, frozen=True):
    """A version to be served: its image, and rows with the predictions that it must give before it takes over."""

    service: Service
    image: str
    model_name: str
    model_version: int
    rows: list[list[Any]]
    predictions: list[Any]


class WebService(Plain, frozen=True):
    """A web service as it is now, and what runs it; `trouble` says why it does not serve, empty where it does."""

    name: str
    scoring_uri: str
    image: str
    model_version: int
    engine: str
    trouble: str = ""


class Resource(Plain, frozen=True):
    """Something that was created and can be removed; `used` where something else that is there needs it."""

    kind: Literal["service", "image", "model", "compute", "workspace"]
    name: str
    detail: str
    used: bool = False


class Finding(Plain, frozen=True):
    """What was looked at. `fix` says what must be done before a release, `hint` what may be; else all is well."""

    what: str
    fix: str = ""
    hint: str = ""

    @property
    def state(self) -> Literal["ok", "hint", "fix"]:
        """Return what it comes to."""
        return "fix" if self.fix else "hint" if self.hint else "ok"


class Platform(Protocol):
    """One workspace of one platform. Model methods speak of the model named in the settings.

    `computes` are those that it can train on. `stop_deletes` says whether a service can only be stopped by deleting it.
    """

    name: str
    computes: tuple[Compute, ...]
    stop_deletes: bool

    def check(self) -> Iterator[Finding]:
        """Check what a release will need, before anything is created."""

    def workspace(self) -> str:
        """Get the workspace, create it only if it is not found, and describe it."""

    def attach(self, ask: Ask) -> str:
        """Attach the VM of .env to the workspace, unless it is attached, and describe it.

        Asks whether a VM is the right one where that cannot be known.
        """

    def find_run(self, fingerprint: str) -> Run | None:
        """Return a completed run with this fingerprint."""

    def train(self, job: Job, tell: Tell) -> Run:
        """Run model/train.py, tell its log line by line, and wait; a run of the same fingerprint that is still going is
        taken up instead. Raises ReleaseError where it does not complete.
        """

    def running(self, fingerprint: str) -> str | None:
        """Return the id of a run that goes on without the release that started it."""

    def cancel(self, run_id: str) -> None:
        """Cancel a run."""

    def output(self, run_id: str, filename: str) -> Path:
        """Return a run's output file on this machine, verified by its digest."""

    def find_model(self, version: int) -> ModelVersion | None:
        """Return a version, or None where it does not exist."""

    def versions(self) -> list[ModelVersion]:
        """Return all versions, the oldest first."""

    def register(self, run_id: str, tags: dict[str, str]) -> ModelVersion:
        """Register a run's model; the same content is registered once."""

    def model_file(self, version: int) -> Path:
        """Return a version's file on this machine, verified by its digest."""

    def production(self) -> Production | None:
        """Return what is in production, or None where nothing ever was."""

    def promote(self, production: Production) -> None:
        """Move the production pointer; nothing happens where it already points there."""

    def history(self) -> list[Production]:
        """Return what was in production, the newest first."""

    def find_image(self, digest: str) -> str | None:
        """Return where an image is, or None where it is not built."""

    def image_content(self, digest: str) -> Path:
        """Return the folder of an image's content on this machine, which the caller verifies; where the platform keeps
        the model in its registry alone, the content has none. Raises ReleaseError where the image is not there.
        """

    def build_image(self, build: Build, tell: Tell) -> str:
        """Build an image, tell how it goes, and return where it is; the same digest is built once."""

    def deploy(self, deployment: Deployment) -> WebService:
        """Create or update a service, checked before it takes over, and wait.

        Raises UnhealthyError where the new version does not serve as it should; the last one then goes on.
        """

    def find_service(self, service: Service) -> WebService | None:
        """Return a service as it is, or None where it was never created."""

    def keys(self, service: Service) -> tuple[Secret, Secret]:
        """Return the two keys of a service."""

    def renew_keys(self, service: Service) -> None:
        """Make new keys for a service; they hold from its next deployment on at the latest.

        Raises RefusedError where they come from .env.
        """

    def stop(self, service: Service) -> None:
        """Stop a service; nothing happens where it does not run."""

    def resources(self) -> list[Resource]:
        """List what was created."""

    def remove(self, resource: Resource) -> str:
        """Remove one thing that was created; return what of it can no longer be reached and stays, and why."""
