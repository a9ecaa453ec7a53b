"""The steps of a release: what each reads, what must be there for it to be fresh, and what it does.

Each hands its record to the next and nothing else. A step decides; the platform does.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from lib import gate, smoke
from lib.errors import ReleaseError, UnhealthyError
from lib.files import digest
from lib.fingerprints import Fingerprint, of_files, of_settings
from lib.image.assemble import ENVIRONMENT, assemble
from lib.interpreter import CallError, Interpreter
from lib.platforms.base import Deployment, Job, Platform, Production
from lib.records import (
    AciRecord,
    AciTestRecord,
    AksRecord,
    AksTestRecord,
    EvaluationRecord,
    ImageRecord,
    ModelRecord,
    Record,
    Records,
    RunRecord,
    TestRecord,
    WebserviceRecord,
    encode,
    now,
)
from lib.settings import Service, Settings
from lib.webservice import identity, same

R = TypeVar("R", bound=Record)
Target = Literal["aci", "aks"]


@dataclass
class Context:
    """What a release works with. `found` holds the records read or written so far, each with its digest."""

    settings: Settings
    platform: Platform
    records: Records
    interpreter: Interpreter
    tell: Callable[[str], None] = lambda _line: None
    forced: bool = False
    found: dict[type[Record], tuple[Record, str]] = field(default_factory=dict)

    def get(self, kind: type[R]) -> R:
        """Return the record of a step that is known to be fresh."""
        record, _ = self.found[kind]
        assert isinstance(record, kind)  # noqa: S101 - the key says so
        return record


@dataclass(frozen=True)
class Step:
    """One step. `absent` says what of its result is no longer there, and is empty where all is."""

    name: str
    record: type[Record]
    inputs: Callable[[Context], Fingerprint]
    absent: Callable[[Context, Any], str]
    run: Callable[[Context, Fingerprint, str], Record]


# train


def train_inputs(context: Context) -> Fingerprint:
    train = context.settings.release.train
    python = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    chosen = of_settings("train", compute=train.compute) | of_settings("train.parameters", **train.parameters)
    return of_files(context.settings.root, "model", ENVIRONMENT) | chosen | python


def train_absent(context: Context, record: RunRecord) -> str:
    run = context.platform.find_run(digest(encode(record.inputs)))
    return "" if run else f"run {record.run_id} is not in the workspace"


def train(context: Context, inputs: Fingerprint, previous: str) -> RunRecord:
    """Train, unless a run of the same inputs was completed and only its record is missing."""
    settings = context.settings.release
    job = Job(
        experiment=settings.model.experiment,
        compute=settings.train.compute,
        parameters=settings.train.parameters,
        fingerprint=digest(encode(inputs)),
        commit=commit(context.settings.root),
        timeout_s=settings.train.timeout_s,
    )
    run = (None if context.forced else context.platform.find_run(job.fingerprint)) or context.platform.train(job, context.tell)
    return RunRecord(
        inputs=inputs,
        previous=previous,
        run_id=run.run_id,
        experiment=job.experiment,
        compute=job.compute,
        commit=job.commit,
        metrics=run.metrics,
        outputs=run.outputs,
    )


def commit(root: Path) -> str:
    """Return the commit of the project, marked where files differ from it; empty outside of git."""
    done = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=40"], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip()


# evaluate


def evaluate_inputs(context: Context) -> Fingerprint:
    rule = context.settings.release.gate
    return of_settings("gate", **{name: getattr(rule, name) for name in rule.__struct_fields__})


def evaluate_absent(context: Context, record: EvaluationRecord) -> str:
    production = context.platform.production()
    if production is None:
        return "" if record.against is None else f"version {record.against} is not in production any more"
    model = context.platform.find_model(production.version)
    if production.version == record.against or (model and model.run_id == record.run_id):
        return ""
    return f"version {production.version} is in production, the verdict is against {record.against or 'none'}"


def evaluate(context: Context, inputs: Fingerprint, previous: str) -> EvaluationRecord:
    """Score the run's model and the one in production on the run's hold-out rows, and ask the gate."""
    run, platform, rule = context.get(RunRecord), context.platform, context.settings.release.gate
    production = platform.production()
    found = context.interpreter.call(
        "lib.evaluation:compare",
        root=str(context.settings.root),
        candidate=str(platform.output(run.run_id, "model.joblib")),
        production=str(platform.model_file(production.version)) if production else None,
        holdout=str(platform.output(run.run_id, "holdout.json")),
        metric=rule.metric,
        direction=rule.direction,
    )
    model = platform.find_model(production.version) if production else None
    verdict = gate.decide(
        rule,
        found["candidate"][rule.metric],
        found["production"].get(rule.metric),
        found["improvements"],
        same_model=model is not None and model.sha256 == run.outputs["model.joblib"],
    )
    return EvaluationRecord(
        inputs=inputs,
        previous=previous,
        run_id=run.run_id,
        against=production.version if production else None,
        verdict=with_data(verdict, context, model.run_id if model else None),
        metrics=found["candidate"],
        production_metrics=found["production"],
    )


def with_data(verdict: gate.Verdict, context: Context, production_run: str | None) -> gate.Verdict:
    """State it where the production model was trained on other data than the run."""
    if production_run is None:
        return verdict
    before = context.platform.output(production_run, "data.json").read_bytes()
    after = context.platform.output(context.get(RunRecord).run_id, "data.json").read_bytes()
    if before == after:
        return verdict
    import msgspec

    stated = "the data changed since the production model was trained; both are scored on the new hold-out rows"
    return msgspec.structs.replace(verdict, reasons=[*verdict.reasons, stated])


# register


def register_inputs(context: Context) -> Fingerprint:
    return of_settings("model", name=context.settings.release.model.name)


def register_absent(context: Context, record: ModelRecord) -> str:
    found = context.platform.find_model(record.version)
    return "" if found and found.sha256 == record.sha256 else f"{record.name} version {record.version} is not registered any more"


def register(context: Context, inputs: Fingerprint, previous: str) -> ModelRecord:
    """Register the run's model with what it was made of and why it was let through."""
    run, evaluation = context.get(RunRecord), context.get(EvaluationRecord)
    tags = {
        "outcome": evaluation.verdict.outcome,
        "metric": f"{evaluation.verdict.metric} {evaluation.verdict.candidate:.6g}",
        "commit": run.commit,
        "inputs": digest(encode(run.inputs)),
        "data": run.outputs["data.json"],
    }
    model = context.platform.register(run.run_id, tags)
    return ModelRecord(
        inputs=inputs, previous=previous, name=model.name, version=model.version, sha256=model.sha256, run_id=run.run_id
    )


# image


def image_inputs(context: Context) -> Fingerprint:
    rows = of_settings("limits", test_rows=context.settings.release.limits.test_rows)
    return of_files(context.settings.root, "service", ENVIRONMENT) | rows


def image_absent(context: Context, record: ImageRecord) -> str:
    return "" if context.platform.find_image(record.digest) else f"image {record.digest[:12]} is not there any more"


def image(context: Context, inputs: Fingerprint, previous: str) -> ImageRecord:
    """Assemble the image, try it, and build it unless the same content was built before."""
    model, platform, root = context.get(ModelRecord), context.platform, context.settings.root
    file = platform.model_file(model.version)
    expected = context.interpreter.call(
        "lib.evaluation:expect",
        root=str(root),
        model=str(file),
        holdout=str(platform.output(model.run_id, "holdout.json")),
        count=context.settings.release.limits.test_rows,
    )
    assembled = assemble(root, file)
    location = platform.find_image(assembled.digest)
    if not location:
        with tempfile.TemporaryDirectory() as folder:
            assembled.write(Path(folder))
            rehearse(context, folder, expected)
            location = platform.build_image(assembled.digest, Path(folder))
    return ImageRecord(
        inputs=inputs,
        previous=previous,
        digest=assembled.digest,
        location=location,
        model_version=model.version,
        rows=expected["rows"],
        predictions=expected["predictions"],
    )


def rehearse(context: Context, folder: str, expected: dict[str, Any]) -> None:
    """Try init() and one prediction. Raises ReleaseError where score.py does not predict as the model does."""
    try:
        given = context.interpreter.call("lib.image.rehearse:rehearse", folder=folder, row=expected["rows"][0])
    except CallError as error:
        raise ReleaseError(f"service/score.py does not serve: {error}") from None
    if not same(given, expected["predictions"][0]):
        raise ReleaseError(
            f"service/score.py predicts {given} where the model predicts {expected['predictions'][0]}\n"
            "Does it change the rows before it hands them to the model?"
        )


# aci and aks


def service_inputs(target: Target) -> Callable[[Context], Fingerprint]:
    def inputs(context: Context) -> Fingerprint:
        service = service_of(context, target)
        chosen = {name: getattr(service, name) for name in service.__struct_fields__}
        limits = context.settings.release.limits
        return of_settings(f"services.{target}", **chosen) | of_settings("limits", request_bytes=limits.request_bytes)

    return inputs


def service_of(context: Context, target: Target) -> Service:
    """Return the settings of a service."""
    return context.settings.release.services.aci if target == "aci" else context.settings.release.services.aks


def service_absent(target: Target) -> Callable[[Context, WebserviceRecord], str]:
    def absent(context: Context, record: WebserviceRecord) -> str:
        found = context.platform.find_service(service_of(context, target))
        if found is None:
            return f"service {record.name} is not there any more"
        if not found.trouble and (found.image, found.model_version) != (record.image, record.model_version):
            return f"service {record.name} serves version {found.model_version} of image {found.image[:12]}"
        return f"service {record.name} does not serve: {found.trouble}" if found.trouble else ""

    return absent


def deploy(target: Target, kind: type[WebserviceRecord]) -> Callable[[Context, Fingerprint, str], Record]:
    def run(context: Context, inputs: Fingerprint, previous: str) -> Record:
        image, model = context.get(ImageRecord), context.get(ModelRecord)
        deployment = Deployment(
            service=service_of(context, target),
            image=image.digest,
            model_name=model.name,
            model_version=model.version,
            rows=image.rows,
            predictions=image.predictions,
        )
        service = context.platform.deploy(deployment)
        return kind(
            inputs=inputs,
            previous=previous,
            name=service.name,
            scoring_uri=service.scoring_uri,
            image=service.image,
            model_version=service.model_version,
        )

    return run


# the tests of both


def no_inputs(_context: Context) -> Fingerprint:
    return {}


def nothing_absent(_context: Context, _record: Record) -> str:
    return ""


def pointer_absent(context: Context, _record: AksTestRecord) -> str:
    production, service = context.platform.production(), context.get(AksRecord)
    if production and (production.version, production.image) == (service.model_version, service.image):
        return ""
    return f"production is version {production.version if production else 'none'}"


def try_service(context: Context, target: Target, service: WebserviceRecord) -> dict[str, Any]:
    """Test a service. Raises UnhealthyError with every check that it did not pass."""
    image, model = context.get(ImageRecord), context.get(ModelRecord)
    primary, secondary = context.platform.keys(service_of(context, target))
    keys = (primary.reveal(), secondary.reveal())
    known = identity(model.name, service.model_version, service.image)
    done = [(name, check()) for name, check in smoke.checks(service.scoring_uri, keys, known, image.rows, image.predictions)]
    if faults := [f"{name}: {fault}" for name, fault in done if fault]:
        raise UnhealthyError(f"{service.name} failed {len(faults)} of {len(done)} checks: " + "; ".join(faults[:2]))
    p50_ms, p99_ms = smoke.latency_ms(service.scoring_uri, keys[0], image.rows)
    return {"scoring_uri": service.scoring_uri, "checks": [name for name, _ in done], "p50_ms": p50_ms, "p99_ms": p99_ms}


def test_aci(context: Context, inputs: Fingerprint, previous: str) -> AciTestRecord:
    found = try_service(context, "aci", context.get(AciRecord))
    return AciTestRecord(inputs=inputs, previous=previous, **found)


def test_aks(context: Context, inputs: Fingerprint, previous: str) -> TestRecord:
    """Test the production service and move the production pointer; where it fails, bring the last version back."""
    service = context.get(AksRecord)
    try:
        found = try_service(context, "aks", service)
    except UnhealthyError as error:
        raise UnhealthyError(f"{error}\n{restore(context)}") from None
    verdict = context.get(EvaluationRecord).verdict
    evidence = {"run": context.get(RunRecord).run_id, "verdict": "; ".join(verdict.reasons), "outcome": verdict.outcome}
    evidence["test"] = f"{len(found['checks'])} checks, p50 {found['p50_ms']:.1f} ms, p99 {found['p99_ms']:.1f} ms"
    context.platform.promote(
        Production(version=service.model_version, image=service.image, since=now(), evidence=evidence)
    )
    return AksTestRecord(inputs=inputs, previous=previous, **found)


def restore(context: Context) -> str:
    """Bring the version in production back to the production service, and say so."""
    last = context.platform.production()
    if last is None:
        return "No version was in production before, so none was brought back"
    deployment = Deployment(
        service=context.settings.release.services.aks,
        image=last.image,
        model_name=context.settings.release.model.name,
        model_version=last.version,
        rows=[],
        predictions=[],
    )
    context.platform.deploy(deployment)
    return f"Version {last.version} serves again"


STEPS = [
    Step("train", RunRecord, train_inputs, train_absent, train),
    Step("evaluate", EvaluationRecord, evaluate_inputs, evaluate_absent, evaluate),
    Step("register", ModelRecord, register_inputs, register_absent, register),
    Step("image", ImageRecord, image_inputs, image_absent, image),
    Step("aci", AciRecord, service_inputs("aci"), service_absent("aci"), deploy("aci", AciRecord)),
    Step("aci_test", AciTestRecord, no_inputs, nothing_absent, test_aci),
    Step("aks", AksRecord, service_inputs("aks"), service_absent("aks"), deploy("aks", AksRecord)),
    Step("test", AksTestRecord, no_inputs, pointer_absent, test_aks),
]
