"""Score models by the functions of model/train.py, in forks of the interpreter."""

import importlib
import json
import math
import random
import sys
from pathlib import Path
from typing import Any

RESAMPLES = 1000


def compare(
    root: str, candidate: str, production: str | None, holdout: str, metric: str, direction: str
) -> dict[str, Any]:
    """Score one or two models on the same held-out rows.

    Returns their metrics, and the candidate's improvements in `metric` on RESAMPLES resamples of the rows.
    """
    train = load_train(root)
    rows = json.loads(Path(holdout).read_bytes())
    truth = rows["target"]
    predicted = [train.predict(load_model(path), rows["data"]) for path in (candidate, production) if path]
    scores = [numbers(train.score(truth, one)) for one in predicted]
    for found in scores:
        if metric not in found:
            raise KeyError(f"score() of model/train.py gives {', '.join(found)}, and the gate asks for {metric}")
    sign = 1 if direction == "higher" else -1
    improvements = (
        [
            sign
            * (
                train.score(some(truth, places), some(predicted[0], places))[metric]
                - train.score(some(truth, places), some(predicted[1], places))[metric]
            )
            for places in resamples(len(truth))
        ]
        if production
        else []
    )
    return {"candidate": scores[0], "production": scores[1] if production else {}, "improvements": improvements}


def expect(root: str, model: str, holdout: str, count: int) -> dict[str, Any]:
    """Return the first held-out rows and the model's own predictions for them."""
    rows = json.loads(Path(holdout).read_bytes())["data"][:count]
    return {"rows": rows, "predictions": list(load_train(root).predict(load_model(model), rows))}


def predictions(root: str, model: str, holdout: str) -> dict[str, Any]:
    """Return the held-out rows' true values and the model's predictions for them."""
    rows = json.loads(Path(holdout).read_bytes())
    return {"truth": rows["target"], "predicted": list(load_train(root).predict(load_model(model), rows["data"]))}


def confidence(root: str, model: str, holdout: str) -> list[float]:
    """Return the probability that a classifier gives to each label that it predicts; empty where it gives none.

    It gives none, either, where its own labels are not those of predict() in model/train.py.
    """
    train, fitted, data = load_train(root), load_model(model), json.loads(Path(holdout).read_bytes())["data"]
    if not hasattr(fitted, "predict_proba"):
        return []
    labels, probabilities = fitted.classes_.tolist(), fitted.predict_proba(data).tolist()
    best = [max(zip(row, labels, strict=True), key=lambda one: one[0]) for row in probabilities]
    same = [label for _, label in best] == list(train.predict(fitted, data))
    return [probability for probability, _ in best] if same else []


def load_train(root: str) -> Any:
    """Import model/train.py with its helper modules."""
    sys.path.insert(0, str(Path(root) / "model"))
    return importlib.import_module("train")


def load_model(path: str) -> Any:
    """Load a model whose digest the platform has verified."""
    import joblib

    return joblib.load(path)


def resamples(count: int) -> list[list[int]]:
    """Draw rows with replacement, the same ones every time."""
    draw = random.Random(0)  # noqa: S311 - statistics, not secrets
    return [draw.choices(range(count), k=count) for _ in range(RESAMPLES)]


def some(values: list[Any], places: list[int]) -> list[Any]:
    """Take the values at some places."""
    return [values[place] for place in places]


def numbers(found: dict[str, Any]) -> dict[str, float]:
    """Turn metrics into plain numbers, which a record can hold."""
    for name, value in found.items():
        if not math.isfinite(value):
            raise ValueError(f"score() of model/train.py gives {name} {value}")
    return {name: float(value) for name, value in found.items()}
