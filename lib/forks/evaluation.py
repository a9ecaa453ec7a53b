"""Score models by the owner's functions, or by their defaults. Called in forks; imports the standard library only.

`root` is a folder whose model/ has the owner's scripts, `target` the column of the hold-out with the true values.
"""

import math
from pathlib import Path
from typing import Any, TypedDict

from lib.forks import holdout as holdouts
from lib.forks import resampling, table
from lib.forks.holdout import TARGET, Row
from lib.forks.owner import Owner


class Comparison(TypedDict):
    """The metrics of both models, and the improvement on each resample.

    Production has no metrics if there is no production model, or if `trouble` says why it cannot be scored.
    """

    candidate: dict[str, float]
    production: dict[str, float]
    improvements: list[float]
    trouble: str


class Expectation(TypedDict):
    """Rows, the names of their columns (empty if they have none), and the model's predictions for them."""

    rows: list[Row]
    names: list[str]
    predictions: list[Any]


class HoldoutPredictions(TypedDict):
    """The true values of the hold-out rows, and the model's predictions for them."""

    truth: list[Any]
    predicted: list[Any]


def answers(root: str, model: str, holdout: str, metric: str, target: str = TARGET) -> list[Any]:
    """Return what a metric needs of a model for all hold-out rows: predictions, or probabilities."""
    owner, rows = _owner(root), holdouts.read(holdout, target)
    return owner.answers(owner.load(model), rows.rows, rows.names, metric)


def compare(
    root: str,
    candidate: str,
    production: list[Any] | None,
    holdout: str,
    metric: str,
    direction: str,
    budget_s: float = math.inf,
    target: str = TARGET,
    only: list[int] | None = None,
) -> Comparison:
    """Score a model and production's answers on the same hold-out rows, and on resamples of them within `budget_s`.

    Production's answers come from `answers`, called in another fork: both models may have modules of the same name.
    `only` has the indices of the rows to score, if not all.
    """
    owner, (rows, truth, names) = _owner(root), holdouts.read(holdout, target)
    chosen = range(len(truth)) if only is None else only
    truth = [truth[row] for row in chosen]
    answered = owner.answers(owner.load(candidate), rows, names, metric)
    predicted = [[values[row] for row in chosen] for values in (answered, production) if values is not None]
    scores = [_as_floats(owner.score(metric, truth, predicted[0]))]
    result = Comparison(candidate=scores[0], production={}, improvements=[], trouble="")
    if production is None:
        return result
    try:
        scores.append(_as_floats(owner.score(metric, truth, predicted[1])))
    except Exception as error:  # whatever the owner's score() raises for the answers of another model
        return result | {"trouble": f"its predictions cannot be scored: {type(error).__name__}: {error}"}
    sign = 1 if direction == "higher" else -1
    resampled = resampling.resample(
        lambda true, values: float(owner.score(metric, true, values)[metric]), metric, truth, predicted, budget_s
    )
    return result | {"production": scores[1], "improvements": [sign * (new - old) for new, old in resampled]}


def expect(root: str, model: str, holdout: str, count: int, target: str = TARGET) -> Expectation:
    """Return the first `count` hold-out rows, and the model's predictions for them."""
    owner, (rows, _, names) = _owner(root), holdouts.read(holdout, target)
    return {"rows": rows[:count], "names": names, "predictions": owner.predict(owner.load(model), rows[:count], names)}


def predict_holdout(root: str, model: str, holdout: str, target: str = TARGET) -> HoldoutPredictions:
    """Return the true values of all hold-out rows, and the model's predictions for them."""
    owner, (rows, truth, names) = _owner(root), holdouts.read(holdout, target)
    return {"truth": truth, "predicted": owner.predict(owner.load(model), rows, names)}


def confidence(root: str, model: str, holdout: str, target: str = TARGET) -> list[float]:
    """Return a classifier's probability of each label that it predicts.

    The list is empty if the model has no predict_proba(), or if its own labels differ from those of the owner's
    predict(): the probabilities would belong to other labels.
    """
    owner, (rows, _, names) = _owner(root), holdouts.read(holdout, target)
    classifier = owner.load(model)
    if not hasattr(classifier, "predict_proba"):
        return []
    labels = table.plain(classifier.classes_)
    probabilities = table.plain(classifier.predict_proba(table.of_model(classifier, rows, names)))
    best = [max(zip(row, labels, strict=True), key=lambda pair: pair[0]) for row in probabilities]
    same_labels = [label for _, label in best] == owner.predict(classifier, rows, names)
    return [probability for probability, _ in best] if same_labels else []


def _owner(root: str) -> Owner:
    return Owner(str(Path(root) / "model"))


def _as_floats(metrics: dict[str, Any]) -> dict[str, float]:
    """Convert metrics, which may be NumPy numbers, to floats that a record can hold."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise ValueError(f"score() returns {name} = {value}, which is not a finite number")
    return {name: float(value) for name, value in metrics.items()}
