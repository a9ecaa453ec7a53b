"""A model's predictions for the held-out rows, in the form in which the report draws them."""

import math
from typing import Any

import msgspec

from lib.errors import ReleaseError
from lib.forks import evaluation
from lib.forks.client import CallError
from lib.release.steps.step import Context, holdout_of
from lib.report.probabilities import labelled

MOST_LABELS = 20
BINS = 5


class Regression(msgspec.Struct, frozen=True):
    """True and predicted numbers, row by row."""

    truth: list[float]
    predicted: list[float]

    @property
    def residuals(self) -> list[float]:
        """The true minus the predicted values."""
        return [true - predicted for true, predicted in zip(self.truth, self.predicted, strict=True)]


class Bin(msgspec.Struct, frozen=True):
    """Predictions with similar confidence: its mean, the share of them that are right, and their number."""

    confidence: float
    accuracy: float
    count: int


class Classification(msgspec.Struct, frozen=True):
    """The confusion matrix, a row for each true and a column for each predicted label, and the calibration."""

    labels: list[str]
    matrix: list[list[int]]
    bins: list[Bin]

    @property
    def rows(self) -> int:
        """The number of rows."""
        return sum(map(sum, self.matrix))

    @property
    def right(self) -> int:
        """The number of right predictions."""
        return sum(row[index] for index, row in enumerate(self.matrix))


def predictions(context: Context, run_id: str) -> Regression | Classification:
    """Predict the held-out rows of a run with its model. Raises ReleaseError if that fails or cannot be drawn."""
    files: dict[str, str] = {
        "root": str(context.settings.root),
        "model": str(context.platform.runs.model(run_id)),
        "holdout": str(holdout_of(context, run_id)),
        "target": context.settings.release.gate.target,
    }
    result = context.forks.call(evaluation.predict_holdout, **files)
    truth, predicted = result["truth"], result["predicted"]
    if _are_labels(truth, predicted):
        return _classification(truth, predicted, _confidence(context, files))
    if pairs := labelled(truth, predicted):
        return _classification(truth, *pairs)
    if all(isinstance(value, int | float) and math.isfinite(value) for value in [*truth, *predicted]):
        return Regression(truth, predicted)
    raise ReleaseError("the predictions are neither finite numbers nor a few labels")


def _are_labels(truth: list[Any], predicted: list[Any]) -> bool:
    # Text is a label. Numbers are labels if there are few, and each predicted number is also a true one.
    values = [*truth, *predicted]
    if not all(isinstance(value, str | int | float) for value in values) or len(set(values)) > MOST_LABELS:
        return False
    return any(isinstance(value, str) for value in values) or set(predicted) <= set(truth)


def _confidence(context: Context, files: dict[str, str]) -> list[float]:
    try:
        return context.forks.call(evaluation.confidence, **files)
    except CallError:  # the model has no probabilities, so the report has no calibration
        return []


def _classification(truth: list[Any], predicted: list[Any], confidence: list[float]) -> Classification:
    labels = sorted({*truth, *predicted}, key=lambda label: (isinstance(label, str), label))
    counts = [[0] * len(labels) for _ in labels]
    pairs = list(zip(truth, predicted, strict=True))
    for true, label in pairs:
        counts[labels.index(true)][labels.index(label)] += 1
    right = [true == label for true, label in pairs]
    return Classification(list(map(str, labels)), counts, _calibration(confidence, right))


def _calibration(confidence: list[float], right: list[bool]) -> list[Bin]:
    # Each bin has as many predictions as the others, since confidences are rarely spread evenly.
    ordered = sorted(zip(confidence, right, strict=False))
    size = max(1, -(-len(ordered) // BINS))
    groups = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    return [
        Bin(sum(pair[0] for pair in group) / len(group), sum(pair[1] for pair in group) / len(group), len(group))
        for group in groups
    ]
