"""Test the deployed services; when production passes, and only then, the production pointer moves."""

import statistics
from typing import Any

from lib.clock import now
from lib.errors import UnhealthyError
from lib.platforms.base import Production
from lib.release import smoke
from lib.release.fingerprints import Fingerprint
from lib.release.lineage import someone
from lib.release.records import (
    AciRecord,
    AciTestRecord,
    AksRecord,
    AksTestRecord,
    EvaluationRecord,
    ImageRecord,
    ModelRecord,
    Record,
    RunRecord,
    WebserviceRecord,
)
from lib.release.steps.deploy import Target, service_of
from lib.release.steps.production import restore
from lib.release.steps.step import Context
from lib.webservice import identity


def no_inputs(_context: Context) -> Fingerprint:
    return {}


def nothing_absent(_context: Context, _record: Record) -> str:
    return ""


def pointer_absent(context: Context, _record: AksTestRecord) -> str:
    production = context.platform.models.production()
    service, _ = context.records.read(AksRecord) or (None, "")
    if service and production and (production.version, production.image) == (service.model_version, service.image):
        return ""
    return f"production is version {production.version if production else 'none'}"


def try_service(context: Context, target: Target, service: WebserviceRecord) -> dict[str, Any]:
    """Test a service. Raises UnhealthyError with every check that it did not pass."""
    image, model = context.get(ImageRecord), context.get(ModelRecord)
    primary, secondary = context.platform.services.keys(service_of(context, target))
    keys = (primary.reveal(), secondary.reveal())
    known = identity(model.name, service.model_version, service.image)
    done = [
        (name, check()) for name, check in smoke.checks(service.scoring_uri, keys, known, image.rows, image.predictions)
    ]
    if faults := [f"{name}: {fault}" for name, fault in done if fault]:
        raise UnhealthyError(f"{service.name} failed {len(faults)} of {len(done)} checks: " + "; ".join(faults[:2]))
    times = smoke.latencies_ms(service.scoring_uri, keys[0], image.rows)
    return {
        "scoring_uri": service.scoring_uri,
        "checks": [name for name, _ in done],
        "p50_ms": statistics.median(times),
        "p99_ms": statistics.quantiles(times, n=100)[98],
        "latencies_ms": [round(time, 2) for time in times],
        "engine": service.engine,
    }


def test_aci(context: Context, inputs: Fingerprint, previous: str) -> AciTestRecord:
    found = try_service(context, "aci", context.get(AciRecord))
    return AciTestRecord(inputs=inputs, previous=previous, **found)


def test_aks(context: Context, inputs: Fingerprint, previous: str) -> AksTestRecord:
    """Test the production service and move the production pointer; where it fails, bring the last version back."""
    service = context.get(AksRecord)
    try:
        found = try_service(context, "aks", service)
    except UnhealthyError as error:
        raise UnhealthyError(f"{error}\n{restore(context)}") from None
    verdict = context.get(EvaluationRecord).verdict
    evidence = {"run": context.get(RunRecord).run_id, "verdict": "; ".join(verdict.reasons), "outcome": verdict.outcome}
    evidence["test"] = f"{len(found['checks'])} checks, p50 {found['p50_ms']:.1f} ms, p99 {found['p99_ms']:.1f} ms"
    evidence |= {"by": someone(), "commit": context.commit}
    context.platform.models.promote(
        Production(version=service.model_version, image=service.image, since=now(), evidence=evidence)
    )
    return AksTestRecord(inputs=inputs, previous=previous, **found)
