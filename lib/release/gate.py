"""Decide whether a new model takes the place of the one in production. Pure: numbers in, a verdict out."""

import math
from typing import Literal

import msgspec

from lib.settings.release import Rule

Outcome = Literal["promote", "hold", "first", "unchanged"]


class Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The outcome with its reasons and numbers; `interval` is that of the improvement, 95 %, by paired bootstrap."""

    outcome: Outcome
    reasons: list[str]
    metric: str
    candidate: float
    production: float | None = None
    improvement: float | None = None
    interval: tuple[float, float] | None = None


def decide(
    rule: Rule,
    candidate: float,
    production: float | None,
    resampled: list[float] | None = None,
    same_model: bool = False,
) -> Verdict:
    """Compare two models' scores on the same rows.

    `production` is None where no version was ever in production; `resampled` are the improvements on resampled rows.
    """
    shown = f"{rule.metric} {candidate:.6g}"
    if fault := unfit(rule, candidate):
        return Verdict("hold", [f"{shown} {fault}"], rule.metric, candidate, production)
    if production is None:
        return Verdict("first", [f"nothing is in production yet; {shown}"], rule.metric, candidate)
    better_by = production - candidate if rule.direction == "lower" else candidate - production
    numbers = (rule.metric, candidate, production, better_by, interval([] if same_model else resampled or []))
    against = f"{shown} against {production:.6g} in production"
    if same_model:
        return Verdict("unchanged", ["the same model, byte for byte, is in production", against], *numbers)
    if better_by > 0 and better_by >= rule.smallest_improvement:
        return Verdict("promote", [f"{against}: better by {better_by:.6g}"], *numbers)
    if better_by > 0:
        reason = f"{against}: better by {better_by:.6g}, less than the {rule.smallest_improvement:g} asked for"
        return Verdict("hold", [reason], *numbers)
    return Verdict("hold", [f"{against}: not better ({better_by:+.6g})"], *numbers)


def unfit(rule: Rule, score: float) -> str:
    """Say why a score may not go out whatever is in production; an empty string where it may."""
    if math.isnan(score):
        return "is not a number"
    if rule.floor is None or (score <= rule.floor if rule.direction == "lower" else score >= rule.floor):
        return ""
    return f"is worse than the floor of {rule.floor:g}"


def interval(resampled: list[float]) -> tuple[float, float] | None:
    """Return the 2.5 and 97.5 percentiles."""
    if not resampled:
        return None
    ordered = sorted(resampled)
    last = len(ordered) - 1
    return ordered[round(last * 0.025)], ordered[round(last * 0.975)]
