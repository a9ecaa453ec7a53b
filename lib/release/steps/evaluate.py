"""Evaluate: score the run's model and the one in production on the same rows, and ask the gate."""

from pathlib import Path

import msgspec

from lib.files import digest_file
from lib.forks import evaluation
from lib.platforms.base import Production
from lib.platforms.outputs import same_data
from lib.release import gate
from lib.release.fingerprints import Fingerprint, of_settings
from lib.release.records import EvaluationRecord, RunRecord
from lib.release.steps.step import Context


def evaluate_inputs(context: Context) -> Fingerprint:
    rule = context.settings.release.gate
    return of_settings("gate", **{name: getattr(rule, name) for name in rule.__struct_fields__})


def evaluate_absent(context: Context, record: EvaluationRecord) -> str:
    production = context.platform.models.production()
    if production is None:
        return "" if record.against is None else f"version {record.against} is not in production any more"
    model = context.platform.models.find(production.version)
    if production.version == record.against or (model and model.run_id == record.run_id):
        return ""
    return f"version {production.version} is in production, the verdict is against {record.against or 'none'}"


def evaluate(context: Context, inputs: Fingerprint, previous: str) -> EvaluationRecord:
    """Score the run's model and the one in production on the run's hold-out rows, and ask the gate."""
    run, platform, rule = context.get(RunRecord), context.platform, context.settings.release.gate
    production = platform.models.production()
    run_id, file = of_production(context, production) if production else ("", None)
    found = context.forks.call(
        evaluation.compare,
        root=str(context.settings.root),
        candidate=str(platform.runs.output(run.run_id, "model.joblib")),
        production=str(file) if file else None,
        holdout=str(platform.runs.output(run.run_id, "holdout.json")),
        metric=rule.metric,
        direction=rule.direction,
    )
    verdict = gate.decide(
        rule,
        found["candidate"][rule.metric],
        found["production"].get(rule.metric),
        found["improvements"],
        same_model=file is not None and digest_file(file) == run.outputs["model.joblib"],
    )
    return EvaluationRecord(
        inputs=inputs,
        previous=previous,
        run_id=run.run_id,
        against=production.version if production else None,
        verdict=with_data(verdict, context, run_id),
        metrics=found["candidate"],
        production_metrics=found["production"],
    )


def of_production(context: Context, production: Production) -> tuple[str, Path]:
    """Return the run and the file of the model in production; of a version that was deleted, what its run left."""
    platform = context.platform
    if model := platform.models.find(production.version):
        return model.run_id, platform.models.file(model.version)
    run_id = production.evidence["run"]
    return run_id, platform.runs.output(run_id, "model.joblib")


def with_data(verdict: gate.Verdict, context: Context, production_run: str) -> gate.Verdict:
    """State it where the production model was trained on other data than the run."""
    if not production_run:
        return verdict
    before = context.platform.runs.output(production_run, "data.json")
    after = context.platform.runs.output(context.get(RunRecord).run_id, "data.json")
    if same_data(before, after):
        return verdict
    stated = (
        "the data changed since the production model was trained; both are scored on the new hold-out rows, "
        "some of which it may know"
    )
    return msgspec.structs.replace(verdict, reasons=[*verdict.reasons, stated])
