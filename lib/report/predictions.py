"""What a model predicts for the held-out rows, ready to be drawn."""

import math
from typing import Any

import msgspec

from lib.errors import ReleaseError
from lib.forks import evaluation
from lib.forks.client import CallError
from lib.release.steps.step import Context

MOST_LABELS = 20
BINS = 5


class Regression(msgspec.Struct, frozen=True):
    """True and predicted numbers, row by row."""

    truth: list[float]
    predicted: list[float]

    @property
    def residuals(self) -> list[float]:
        """What is true less what was predicted."""
        return [true - predicted for true, predicted in zip(self.truth, self.predicted, strict=True)]


class Bin(msgspec.Struct, frozen=True):
    """Predictions of like confidence: how sure the model was on average, how often it was right, of how many rows."""

    confidence: float
    accuracy: float
    count: int


class Classification(msgspec.Struct, frozen=True):
    """How often which label (a row of `matrix`) was predicted as which (a column), and what its confidence is worth."""

    labels: list[str]
    matrix: list[list[int]]
    bins: list[Bin]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(map(sum, self.matrix))

    @property
    def right(self) -> int:
        """How many rows were predicted right."""
        return sum(row[place] for place, row in enumerate(self.matrix))


def predictions(context: Context, run_id: str) -> Regression | Classification:
    """Let a run's model predict its held-out rows. Raises ReleaseError where that cannot be shown."""
    files: dict[str, str] = {
        "root": str(context.settings.root),
        "model": str(context.platform.runs.output(run_id, "model.joblib")),
        "holdout": str(context.platform.runs.output(run_id, "holdout.json")),
    }
    found = context.forks.call(evaluation.predict_holdout, **files)
    truth, predicted = found["truth"], found["predicted"]
    if labelled(truth, predicted):
        return classification(truth, predicted, confidence(context, files))
    if all(isinstance(value, int | float) and math.isfinite(value) for value in [*truth, *predicted]):
        return Regression(truth, predicted)
    raise ReleaseError("the predictions are neither finite numbers nor a few labels")


def labelled(truth: list[Any], predicted: list[Any]) -> bool:
    """Tell whether predictions are labels: text, or no other numbers than the few that are true ones."""
    values = [*truth, *predicted]
    if not all(isinstance(value, str | int | float) for value in values) or len(set(values)) > MOST_LABELS:
        return False
    return any(isinstance(value, str) for value in values) or set(predicted) <= set(truth)


def confidence(context: Context, files: dict[str, str]) -> list[float]:
    """Return the probability of each predicted label; empty where the model gives none for such rows."""
    try:
        return context.forks.call(evaluation.confidence, **files)
    except CallError:  # its log has the reason; a report without calibration is whole
        return []


def classification(truth: list[Any], predicted: list[Any], sure: list[float]) -> Classification:
    """Count which label was predicted as which."""
    labels = sorted({*truth, *predicted}, key=lambda label: (isinstance(label, str), label))
    counts = [[0] * len(labels) for _ in labels]
    for true, given in zip(truth, predicted, strict=True):
        counts[labels.index(true)][labels.index(given)] += 1
    right = [true == given for true, given in zip(truth, predicted, strict=True)]
    return Classification(list(map(str, labels)), counts, calibration(sure, right))


def calibration(sure: list[float], right: list[bool]) -> list[Bin]:
    """Put predictions of like confidence together, as many into one bin as into another."""
    ordered = sorted(zip(sure, right, strict=False))
    size = max(1, -(-len(ordered) // BINS))
    groups = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    return [
        Bin(sum(one[0] for one in group) / len(group), sum(one[1] for one in group) / len(group), len(group))
        for group in groups
    ]
