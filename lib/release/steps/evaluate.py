"""Evaluate: score the run's model and the production model on the same rows, and let the gate decide."""

from pathlib import Path

import msgspec

from lib.forks import evaluation, resampling
from lib.forks.evaluation import Comparison
from lib.platforms.base import Production
from lib.platforms.outputs import same_data
from lib.release import gate
from lib.release.fingerprints import Fingerprint, of_files, of_settings
from lib.release.records import EvaluationRecord, RunRecord
from lib.release.steps.step import SCORING, Context, Step, holdout_of
from lib.settings.release import Rule

SETTINGS = ("metric", "direction", "smallest_improvement", "floor")
DEFAULTS = Rule(metric="mse")


class Evaluate(Step[EvaluationRecord]):
    """Compare the run's model with the production model."""

    name = "evaluate"
    record = EvaluationRecord

    def inputs(self, context: Context) -> Fingerprint:
        """Return all settings of the gate; see Step."""
        rule, root = context.settings.release.gate, context.settings.root
        # A setting that earlier releases did not have counts only if it is used, so that their verdicts stay fresh.
        used = [name for name in ("holdout", "target") if getattr(rule, name) != getattr(DEFAULTS, name)]
        settings = of_settings("gate", **{name: getattr(rule, name) for name in (*SETTINGS, *used)})
        return settings | of_files(root, *filter(None, [rule.holdout]), SCORING)

    def missing(self, context: Context, record: EvaluationRecord) -> str:
        """Check that production is still the version of the verdict, or became this run's model; see Step."""
        production = context.platform.models.production()
        if production is None:
            return "" if record.against is None else f"version {record.against} is no longer in production"
        model = context.platform.models.find(production.version)
        if production.version == record.against or (model and model.run_id == record.run_id):
            return ""
        return f"version {production.version} is in production, the verdict is against {record.against or 'none'}"

    def run(self, context: Context, inputs: Fingerprint, previous: str, _forced: bool) -> EvaluationRecord:
        """Score both models on the run's hold-out rows, and let the gate decide; see Step."""
        run, platform, rule = context.records.get(RunRecord), context.platform, context.settings.release.gate
        production = platform.models.production()
        production_run, production_file = _production_model(context, production) if production else ("", None)
        scores = _compare(context, run.run_id, production_file)
        verdict = gate.decide(
            rule,
            scores["candidate"][rule.metric],
            scores["production"].get(rule.metric),
            scores["improvements"],
            same_model=production_file is not None and production_file == platform.runs.model(run.run_id),
        )
        return EvaluationRecord(
            inputs=inputs,
            previous=previous,
            run_id=run.run_id,
            against=production.version if production else None,
            verdict=_with_data(verdict, context, run.run_id, production_run),
            metrics=scores["candidate"],
            production_metrics=scores["production"],
        )


def _compare(context: Context, run_id: str, production: Path | None) -> Comparison:
    """Score the run's model and, if there is one, the production model."""
    rule, forks = context.settings.release.gate, context.forks
    arguments = {
        "root": str(context.settings.root),
        "holdout": str(holdout_of(context, run_id)),
        "target": rule.target,
        "metric": rule.metric,
    }
    scores = forks.call(
        evaluation.compare,
        candidate=str(context.platform.runs.model(run_id)),
        production=forks.call(evaluation.answers, model=str(production), **arguments) if production else None,
        direction=rule.direction,
        budget_s=rule.time_budget_s,
        **arguments,
    )
    if production and len(scores["improvements"]) < resampling.RESAMPLES:
        context.tell(
            f"{len(scores['improvements'])} of {resampling.RESAMPLES} resamples: scoring is slow "
            f"(gate.time_budget_s = {rule.time_budget_s:g}), or some of them cannot be scored"
        )
    return scores


def _production_model(context: Context, production: Production) -> tuple[str, Path]:
    """Return the run and the file of the production model. If its version was deleted, its run still has the file."""
    platform = context.platform
    if model := platform.models.find(production.version):
        return model.run_id, platform.models.file(model.version)
    run_id = production.evidence["run"]
    return run_id, platform.runs.model(run_id)


def _with_data(verdict: gate.Verdict, context: Context, run: str, production_run: str) -> gate.Verdict:
    """Add to a verdict's reasons if both models were trained on different data: that favours the production model."""
    output = context.platform.runs.output
    if not production_run or same_data(output(production_run, "data.json"), output(run, "data.json")):
        return verdict
    reason = (
        "the data changed since the production model was trained; both are scored on the new hold-out rows, "
        "some of which it may know"
    )
    return msgspec.structs.replace(verdict, reasons=[*verdict.reasons, reason])
