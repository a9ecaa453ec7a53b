"""The gate: numbers in, a verdict out."""

import math
from typing import Any, Literal

import pytest

from lib.release.gate import decide
from lib.settings.release import Rule

pytestmark = pytest.mark.quick


def rule(direction: Literal["lower", "higher"] = "lower", **more: Any) -> Rule:
    return Rule(metric="error", direction=direction, **more)


def test_without_production_a_model_is_the_first() -> None:
    verdict = decide(rule(), 5.0, None)
    assert (verdict.outcome, verdict.candidate, verdict.production) == ("first", 5.0, None)


@pytest.mark.parametrize(
    ("direction", "candidate", "outcome"),
    [("lower", 4.0, "promote"), ("lower", 6.0, "hold"), ("higher", 6.0, "promote"), ("higher", 4.0, "hold")],
)
def test_better_means_what_the_direction_says(
    direction: Literal["lower", "higher"], candidate: float, outcome: str
) -> None:
    assert decide(rule(direction), candidate, 5.0).outcome == outcome


@pytest.mark.parametrize("direction", ["lower", "higher"])
def test_the_same_score_of_another_model_is_not_better(direction: Literal["lower", "higher"]) -> None:
    assert decide(rule(direction), 5.0, 5.0).outcome == "hold"


def test_the_same_model_is_unchanged_and_goes_on() -> None:
    verdict = decide(rule(), 5.0, 5.0, [0.0] * 100, same_model=True)
    assert (verdict.outcome, verdict.interval) == ("unchanged", None)


@pytest.mark.parametrize(("candidate", "outcome"), [(4.5, "promote"), (4.51, "hold")])
def test_the_smallest_improvement_is_enough_and_less_is_not(candidate: float, outcome: str) -> None:
    verdict = decide(rule(smallest_improvement=0.5), candidate, 5.0)
    assert verdict.outcome == outcome
    assert outcome == "promote" or "less than the required 0.5" in verdict.reasons[0]


@pytest.mark.parametrize("production", [None, 9.0])
@pytest.mark.parametrize(
    ("direction", "floor", "candidate", "passes"),
    [
        ("lower", 7.0, 7.0, True),
        ("lower", 7.0, 7.1, False),
        ("higher", 11.0, 11.0, True),
        ("higher", 11.0, 10.9, False),
    ],
)
def test_a_model_worse_than_the_floor_never_goes_out(
    direction: Literal["lower", "higher"], floor: float, candidate: float, passes: bool, production: float | None
) -> None:
    verdict = decide(rule(direction, floor=floor), candidate, production)
    assert (verdict.outcome != "hold") == passes


@pytest.mark.parametrize("production", [None, 5.0, math.nan])
def test_what_is_not_a_number_never_goes_out(production: float | None) -> None:
    assert decide(rule(), math.nan, production).outcome == "hold"


def test_nothing_is_better_than_a_production_score_that_is_not_a_number() -> None:
    assert decide(rule(), 1.0, math.nan).outcome == "hold"


def test_the_interval_holds_the_middle_95_of_100_resamples() -> None:
    verdict = decide(rule(), 4.0, 5.0, [float(place) for place in range(1000, -1, -1)])
    assert verdict.interval == (25.0, 975.0)
    assert verdict.improvement == 1.0


def test_a_verdict_gives_both_numbers_and_their_difference() -> None:
    (reason,) = decide(rule(), 6.25, 5.0).reasons
    assert reason == "error 6.25 against 5 in production: not better (-1.25)"
