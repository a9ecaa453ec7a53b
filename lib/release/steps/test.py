"""Test: check a deployed service over HTTP. If production passes, and only then, the production pointer moves."""

import statistics
from typing import Any

from lib.clock import now
from lib.errors import UnhealthyError
from lib.platforms.base import Production
from lib.release import smoke
from lib.release.fingerprints import Fingerprint
from lib.release.records import (
    AciRecord,
    AciTestRecord,
    AksRecord,
    AksTestRecord,
    EvaluationRecord,
    ImageRecord,
    ModelRecord,
    RunRecord,
    TestRecord,
    WebserviceRecord,
)
from lib.release.steps.deploy import Target, service_of
from lib.release.steps.production import restore
from lib.release.steps.step import Context, Step
from lib.user import current_user
from lib.webservice import identity


class Test(Step[TestRecord]):
    """Test the staging service (aci) or the production service (aks)."""

    __test__ = False  # pytest would take it for a class of tests

    def __init__(self, target: Target) -> None:
        self.target: Target = target
        self.name = "aci_test" if target == "aci" else "test"
        self.record = AciTestRecord if target == "aci" else AksTestRecord

    def missing(self, context: Context, _record: TestRecord) -> str:
        """Check that the production pointer is at the deployed version; see Step."""
        if self.target == "aci":
            return ""
        production, service = context.platform.models.production(), context.records.get(AksRecord)
        if production and (production.version, production.image) == (service.model_version, service.image):
            return ""
        return f"production is version {production.version if production else 'none'}"

    def run(self, context: Context, inputs: Fingerprint, previous: str, _forced: bool) -> TestRecord:
        """Test the service. If production fails, the last version is deployed again; see Step."""
        service = context.records.get(AciRecord if self.target == "aci" else AksRecord)
        try:
            results = _test(context, self.target, service)
        except UnhealthyError as error:
            if self.target == "aci":
                raise
            raise UnhealthyError(f"{error}\n{restore(context)}") from None
        if self.target == "aks":
            _promote(context, service, results)
        return self.record(inputs=inputs, previous=previous, **results)


def _test(context: Context, target: Target, service: WebserviceRecord) -> dict[str, Any]:
    """Return what a test record holds. Raises UnhealthyError with the first checks that failed."""
    image, model = context.records.get(ImageRecord), context.records.get(ModelRecord)
    primary, secondary = context.platform.services.keys(service_of(context, target))
    keys = (primary.reveal(), secondary.reveal())
    deployed = identity(model.name, service.model_version, service.image)
    checks = smoke.checks(
        service.scoring_uri,
        keys,
        deployed,
        image.rows,
        image.predictions,
        image.form,
        image.refused,
        image.columns,
    )
    results = [(name, check()) for name, check in checks]
    if faults := [f"{name}: {fault}" for name, fault in results if fault]:
        raise UnhealthyError(f"{service.name} failed {len(faults)} of {len(results)} checks: " + "; ".join(faults[:2]))
    latencies = smoke.latencies_ms(service.scoring_uri, keys[0], image.rows, image.form)
    return {
        "scoring_uri": service.scoring_uri,
        "checks": [name for name, _ in results],
        "p50_ms": statistics.median(latencies),
        "p99_ms": statistics.quantiles(latencies, n=100)[98],
        "latencies_ms": [round(latency, 2) for latency in latencies],
        "engine": service.engine,
    }


def _promote(context: Context, service: WebserviceRecord, results: dict[str, Any]) -> None:
    """Move the production pointer to the tested version, with the evidence for it."""
    run, verdict = context.records.get(RunRecord), context.records.get(EvaluationRecord).verdict
    evidence = {
        "run": run.run_id,
        "verdict": "; ".join(verdict.reasons),
        "outcome": verdict.outcome,
        "test": f"{len(results['checks'])} checks, p50 {results['p50_ms']:.1f} ms, p99 {results['p99_ms']:.1f} ms",
        "by": current_user(),
        "commit": context.commit,
    }
    production = Production(version=service.model_version, image=service.image, since=now(), evidence=evidence)
    context.platform.models.promote(production)
