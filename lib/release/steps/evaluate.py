"""Evaluate: score the run's model and the production model on the same rows, and let the gate decide."""

from lib.forks.client import CallError
from lib.release import comparison, gate
from lib.release.fingerprints import Fingerprint, of_files, of_settings
from lib.release.records import EvaluationRecord, RunRecord
from lib.release.steps.step import SCORING, Context, Step
from lib.settings import located
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
        used = [
            name for name in ("holdout", "target", "incomparable") if getattr(rule, name) != getattr(DEFAULTS, name)
        ]
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
        with comparison.opponent(context, production) as opponent:
            try:
                scores = comparison.compare(context, run.run_id, opponent)
            except CallError as error:
                if "gate.metric" not in str(error):
                    raise
                raise located(context.settings.root, ("gate", "metric"), str(error)) from None
        verdict = gate.decide(
            rule,
            scores["candidate"][rule.metric],
            scores["production"].get(rule.metric),
            scores["improvements"],
            same_model=opponent is not None and opponent.model == platform.runs.model(run.run_id),
            incomparable=scores["trouble"],
        )
        return EvaluationRecord(
            inputs=inputs,
            previous=previous,
            run_id=run.run_id,
            against=production.version if production else None,
            verdict=comparison.with_remarks(verdict, context, run.run_id, opponent),
            metrics=scores["candidate"],
            production_metrics=scores["production"],
        )
