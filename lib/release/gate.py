"""Decide whether a new model replaces the production model. A pure function: numbers in, a verdict out."""

import math
from typing import Literal

import msgspec

from lib.settings.release import Rule

Outcome = Literal["promote", "hold", "first", "unchanged", "incomparable"]

SAME = "the same model, byte for byte, is in production"


class Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The outcome with reasons and numbers. `interval` is the 95 % interval of the improvement (paired bootstrap).

    `accepted` is what `gate.incomparable` decides if the models cannot be compared.
    """

    outcome: Outcome
    reasons: list[str]
    metric: str
    candidate: float
    production: float | None = None
    improvement: float | None = None
    interval: tuple[float, float] | None = None
    accepted: bool = True

    @property
    def holds(self) -> bool:
        """Whether the new model is not deployed."""
        return self.outcome == "hold" or not self.accepted


def decide(
    rule: Rule,
    candidate: float,
    production: float | None,
    resampled: list[float] | None = None,
    same_model: bool = False,
    incomparable: str = "",
) -> Verdict:
    """Compare two models' scores on the same rows.

    `production` is None if no version was ever in production, or if `incomparable` says why the models cannot be
    compared. `resampled` has the improvement on each resample.
    """
    score = f"{rule.metric} {candidate:.6g}"
    if fault := _unfit(rule, candidate):
        return Verdict("hold", [f"{score} {fault}"], rule.metric, candidate, production)
    if incomparable and not same_model:
        return _incomparable(rule, candidate, incomparable)
    if production is None:
        outcome, reason = ("unchanged", SAME) if same_model else ("first", "nothing is in production yet")
        return Verdict(outcome, [f"{reason}; {score}"], rule.metric, candidate)  # type: ignore[arg-type]
    better_by = production - candidate if rule.direction == "lower" else candidate - production
    numbers = (rule.metric, candidate, production, better_by, _interval([] if same_model else resampled or []))
    against = f"{score} against {production:.6g} in production"
    if same_model:
        return Verdict("unchanged", [SAME, against], *numbers)
    if better_by > 0 and better_by >= rule.smallest_improvement:
        return Verdict("promote", [f"{against}: better by {better_by:.6g}"], *numbers)
    reason = f"not better ({better_by:+.6g})"
    if better_by > 0:
        reason = f"better by {better_by:.6g}, less than the required {rule.smallest_improvement:g}"
    return Verdict("hold", [f"{against}: {reason}"], *numbers)


def _incomparable(rule: Rule, candidate: float, why: str) -> Verdict:
    accepted = rule.incomparable == "promote"
    reasons = [f"{rule.metric} {candidate:.6g}; {why}", f'gate.incomparable = "{rule.incomparable}" decides']
    return Verdict("incomparable", reasons, rule.metric, candidate, accepted=accepted)


def _unfit(rule: Rule, score: float) -> str:
    """Return why a model with this score is never deployed, an empty string if it may be."""
    if math.isnan(score):
        return "is not a number"
    if rule.floor is None or (score <= rule.floor if rule.direction == "lower" else score >= rule.floor):
        return ""
    return f"is worse than the floor of {rule.floor:g}"


def _interval(resampled: list[float]) -> tuple[float, float] | None:
    """Return the 2.5 and 97.5 percentiles."""
    if not resampled:
        return None
    ordered = sorted(resampled)
    last = len(ordered) - 1
    return ordered[round(last * 0.025)], ordered[round(last * 0.975)]
