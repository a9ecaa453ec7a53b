"""Score models by predict() and score() of model/train.py. Called in forks; imports the standard library only."""

import importlib
import json
import math
import random
import sys
from pathlib import Path
from typing import Any, TypedDict

RESAMPLES = 1000


class Comparison(TypedDict):
    """The metrics of both models (none for production if there is none), and the improvement on each resample."""

    candidate: dict[str, float]
    production: dict[str, float]
    improvements: list[float]


class Expectation(TypedDict):
    """Rows, and the model's predictions for them."""

    rows: list[list[Any]]
    predictions: list[Any]


class HoldoutPredictions(TypedDict):
    """The true values of the hold-out rows, and the model's predictions for them."""

    truth: list[Any]
    predicted: list[Any]


def compare(root: str, candidate: str, production: str | None, holdout: str, metric: str, direction: str) -> Comparison:
    """Score one or two models on the same hold-out rows, and on RESAMPLES resamples of these rows."""
    train = _load_train(root)
    holdout_rows = json.loads(Path(holdout).read_bytes())
    truth = holdout_rows["target"]
    predictions = [train.predict(_load_model(path), holdout_rows["data"]) for path in (candidate, production) if path]
    scores = [_as_floats(train.score(truth, values)) for values in predictions]
    for metrics in scores:
        if metric not in metrics:
            raise KeyError(f"score() of model/train.py returns {', '.join(metrics)}, but the gate needs {metric}")
    sign = 1 if direction == "higher" else -1
    improvements = [
        sign
        * (
            train.score(_select(truth, rows), _select(predictions[0], rows))[metric]
            - train.score(_select(truth, rows), _select(predictions[1], rows))[metric]
        )
        for rows in (_resamples(len(truth)) if production else ())
    ]
    return {"candidate": scores[0], "production": scores[1] if production else {}, "improvements": improvements}


def expect(root: str, model: str, holdout: str, count: int) -> Expectation:
    """Return the first `count` hold-out rows, and the model's predictions for them."""
    rows = json.loads(Path(holdout).read_bytes())["data"][:count]
    return {"rows": rows, "predictions": list(_load_train(root).predict(_load_model(model), rows))}


def predict_holdout(root: str, model: str, holdout: str) -> HoldoutPredictions:
    """Return the true values of all hold-out rows, and the model's predictions for them."""
    rows = json.loads(Path(holdout).read_bytes())
    return {"truth": rows["target"], "predicted": list(_load_train(root).predict(_load_model(model), rows["data"]))}


def confidence(root: str, model: str, holdout: str) -> list[float]:
    """Return a classifier's probability of each label that it predicts.

    The list is empty if the model has no predict_proba(), or if its own labels differ from those of predict() in
    model/train.py: the probabilities would belong to other labels.
    """
    train, classifier, data = _load_train(root), _load_model(model), json.loads(Path(holdout).read_bytes())["data"]
    if not hasattr(classifier, "predict_proba"):
        return []
    labels, probabilities = classifier.classes_.tolist(), classifier.predict_proba(data).tolist()
    best = [max(zip(row, labels, strict=True), key=lambda pair: pair[0]) for row in probabilities]
    same_labels = [label for _, label in best] == list(train.predict(classifier, data))
    return [probability for probability, _ in best] if same_labels else []


def _load_train(root: str) -> Any:
    """Import model/train.py with its helper modules."""
    sys.path.insert(0, str(Path(root) / "model"))
    return importlib.import_module("train")


def _load_model(path: str) -> Any:
    """Load a model. The platform has verified the file's digest: joblib runs whatever code the file contains."""
    import joblib

    return joblib.load(path)


def _resamples(count: int) -> list[list[int]]:
    """Return RESAMPLES draws of `count` rows with replacement, the same draws every time."""
    draw = random.Random(0)  # noqa: S311 - statistics, not secrets
    return [draw.choices(range(count), k=count) for _ in range(RESAMPLES)]


def _select(values: list[Any], rows: list[int]) -> list[Any]:
    return [values[row] for row in rows]


def _as_floats(metrics: dict[str, Any]) -> dict[str, float]:
    """Convert metrics, which may be NumPy numbers, to floats that a record can hold."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise ValueError(f"score() of model/train.py returns {name} = {value}, which is not a finite number")
    return {name: float(value) for name, value in metrics.items()}
