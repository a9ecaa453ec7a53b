"""The records: what each step did, and the only hand-over from one step to the next.

A record is a JSON file in artifacts/<platform>/. It has the fingerprint of its step's inputs and the digest of the
record before it, and holds no secret.
"""

from pathlib import Path
from typing import Any, ClassVar, TypeVar

import msgspec

from lib import files
from lib.clock import now
from lib.errors import NotFreshError, ReleaseError
from lib.forms import Form
from lib.release.fingerprints import Fingerprint
from lib.release.gate import Verdict
from lib.settings import Settings

SCHEMA = 1


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all records have. `previous` is the digest of the record before it, empty for the first.

    `commit` is the project's commit when the step ran, marked if files differed from it, and empty outside of git.
    `task` is what `invoke` is called with to write the record, `noun` what people call the step's result.
    """

    filename: ClassVar[str]
    task: ClassVar[str]
    noun: ClassVar[str]
    schema: int = SCHEMA
    inputs: Fingerprint
    previous: str
    commit: str = ""
    created_at: str = msgspec.field(default_factory=now)

    @property
    def summary(self) -> str:
        """The result in a few words."""
        raise NotImplementedError


class RunRecord(Record, frozen=True):
    """The training run. `outputs` maps each file in outputs/ to its sha256.

    It ran on `compute`, on the machine `host`, with Python `python` (a version) and the packages of `environment` (a
    digest, empty for the release's own environment).
    """

    filename = "run_id.json"
    task = "train"
    noun = "run"
    run_id: str
    experiment: str
    compute: str
    metrics: dict[str, float]
    outputs: dict[str, str]
    host: str = ""
    python: str = ""
    environment: str = ""

    @property
    def summary(self) -> str:
        where = "" if self.compute == "local" else f" on {self.compute}"
        metrics = ", ".join(f"{name} {value:.6g}" for name, value in self.metrics.items())
        return f"run {self.run_id}{where}: {metrics}"


class EvaluationRecord(Record, frozen=True):
    """The gate's verdict on a run. `against` is the version that was in production, None if there was none."""

    filename = "evaluation.json"
    task = "evaluate"
    noun = "verdict"
    run_id: str
    against: int | None
    verdict: Verdict
    metrics: dict[str, float]
    production_metrics: dict[str, float]

    @property
    def summary(self) -> str:
        return f"{self.verdict.outcome}: " + "; ".join(self.verdict.reasons)


class ModelRecord(Record, frozen=True):
    """The registered model version."""

    filename = "model.json"
    task = "register"
    noun = "model version"
    name: str
    version: int
    sha256: str
    run_id: str

    @property
    def summary(self) -> str:
        return f"{self.name} version {self.version}"


class ImageRecord(Record, frozen=True):
    """The scoring image, and some hold-out rows with the predictions that its services must answer in a form.

    `refused` names the kinds of bad bodies that its rehearsal refused (None: all). `warnings` are for people.
    `columns` are those of the signature: name, type, and whether it is optional (None: there was no signature).
    """

    filename = "image.json"
    task = "image"
    noun = "image"
    digest: str
    location: str
    model_version: int
    rows: list[Any]
    predictions: list[Any]
    form: Form = Form()
    refused: list[str] | None = None
    warnings: list[str] = []
    columns: list[dict[str, Any]] | None = None

    @property
    def summary(self) -> str:
        return f"image {self.digest[:12]} of version {self.model_version}"


class WebserviceRecord(Record, frozen=True):
    """A deployed web service, and its engine: process, container, ACI or AKS."""

    noun = "deployment"
    name: str
    scoring_uri: str
    image: str
    model_version: int
    engine: str = ""

    @property
    def summary(self) -> str:
        return f"{self.scoring_uri} serves version {self.model_version}"


class AciRecord(WebserviceRecord, frozen=True):
    """The staging service."""

    filename = "aci_webservice.json"
    task = "aci"


class AksRecord(WebserviceRecord, frozen=True):
    """The production service."""

    filename = "aks_webservice.json"
    task = "aks"


class TestRecord(Record, frozen=True):
    """The checks that a service passed, and its latencies; `latencies_ms` has those of single requests."""

    noun = "test result"
    scoring_uri: str
    checks: list[str]
    p50_ms: float
    p99_ms: float
    latencies_ms: list[float] = []
    engine: str = ""

    @property
    def summary(self) -> str:
        engine = f" ({self.engine})" if self.engine else ""
        return f"{len(self.checks)} checks passed{engine}, p50 {self.p50_ms:.1f} ms, p99 {self.p99_ms:.1f} ms"


class AciTestRecord(TestRecord, frozen=True):
    """The test of the staging service, which the deployment to production builds on."""

    filename = "aci_test.json"
    task = "test --service aci"


class AksTestRecord(TestRecord, frozen=True):
    """The test of the production service, after which the production pointer moved."""

    filename = "test.json"
    task = "test"


class FailureRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The last step that failed, kept until a step succeeds."""

    step: str
    message: str
    failed_at: str = msgspec.field(default_factory=now)


def redact(failure: FailureRecord, settings: Settings) -> FailureRecord:
    """Return a failure whose message, which may come from any program, shows no secret of .env."""
    return msgspec.structs.replace(failure, message=settings.redact(failure.message))


R = TypeVar("R", bound=Record)


class Records:
    """The records of one platform, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, kind: type[R]) -> tuple[R, str] | None:
        """Return a record and its digest, or None if there is none.

        Raises ReleaseError that names the file and the task that replaces it if the record cannot be read.
        """
        path = self.folder / kind.filename
        try:
            content = path.read_bytes()
            record = msgspec.json.decode(content, type=kind)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise ReleaseError(f"{path} is not a complete record: {error}\n{_remedy(kind)}") from None
        if record.schema != SCHEMA:
            raise ReleaseError(f"{path} has schema {record.schema}, this release reads {SCHEMA}\n{_remedy(kind)}")
        return record, files.digest(content)

    def get(self, kind: type[R]) -> R:
        """Return the record of an earlier step. Raises NotFreshError if there is none."""
        entry = self.read(kind)
        if entry is None:
            raise NotFreshError(f"no {kind.filename} yet\nRun `invoke {kind.task}` first")
        return entry[0]

    def write(self, record: Record) -> str:
        """Write a record and return its digest."""
        content = encode(record)
        files.sweep(self.folder)
        files.write(self.folder / record.filename, content)
        return files.digest(content)

    def failure(self) -> FailureRecord | None:
        """Return the last failure, None if a step has succeeded since."""
        try:
            return msgspec.json.decode((self.folder / "failed.json").read_bytes(), type=FailureRecord)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def write_failure(self, failure: FailureRecord) -> None:
        """Keep a failure for `invoke status`."""
        files.write(self.folder / "failed.json", encode(failure))

    def clear_failure(self) -> None:
        """Remove the failure: a step has succeeded."""
        (self.folder / "failed.json").unlink(missing_ok=True)


def _remedy(kind: type[Record]) -> str:
    return f"`invoke {kind.task} --force` replaces it"


def encode(value: Any) -> bytes:
    """Encode as JSON that people can read."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
