"""Measure two things in turn, and compare their medians."""

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """What was measured in every round; `target` bounds the ratio of the medians."""

    what: str
    unit: Literal["s", "ms", "1/s"]
    ours: Sequence[float]
    other: Sequence[float]
    bound: Literal["at most", "at least"]
    target: float

    @property
    def ratio(self) -> float:
        """Return our median by the other's."""
        return statistics.median(self.ours) / statistics.median(self.other)

    @property
    def met(self) -> bool:
        """Tell whether the ratio is within its target."""
        return self.ratio <= self.target if self.bound == "at most" else self.ratio >= self.target

    def row(self) -> list[str]:
        """Return the line of the table."""
        ours, other = (
            f"{statistics.median(values):.4g} {self.unit} ±{spread(values):.0%}" for values in (self.ours, self.other)
        )
        return [
            self.what,
            ours,
            other,
            f"{self.ratio:.2f}",
            f"{self.bound} {self.target:g}",
            "met" if self.met else "MISSED",
        ]


def spread(values: Sequence[float]) -> float:
    """Return the distance from the median that half of the rounds keep, as a share of it."""
    middle = statistics.median(values)
    return statistics.median(abs(value - middle) for value in values) / middle


def progress(text: str) -> None:
    """Show what is going on, on a terminal; the next text takes its place."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)  # noqa: T201 - progress


def in_turn(ours: Callable[[], T], other: Callable[[], T], rounds: int) -> tuple[list[T], list[T]]:
    """Measure ours, other, ours, other ...; the first pair only warms up and is thrown away."""
    pairs = []
    for place in range(rounds + 1):
        progress(f"round {place} of {rounds}" if place else "warming up")
        pairs.append((ours(), other()))
    del pairs[0]
    progress("")
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
