"""Train the diabetes model.

A release calls `main` as a script, and imports `predict` and `score` to compare models.
"""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split

Array = NDArray[np.float64]


class Split(NamedTuple):
    """Rows to fit on and rows held out, features of shape (rows, 10) in the order of `columns`."""

    columns: list[str]
    data: Array
    target: Array
    holdout_data: Array
    holdout_target: Array


def split(seed: int) -> Split:
    """Load scikit-learn's diabetes data (442 rows, 10 features) and hold out a fifth of it."""
    diabetes = load_diabetes()
    data, holdout_data, target, holdout_target = train_test_split(
        diabetes.data, diabetes.target, test_size=0.2, random_state=seed
    )
    return Split(list(diabetes.feature_names), data, target, holdout_data, holdout_target)


def fit(data: Array, target: Array, alpha: float) -> Ridge:
    """Fit the regression."""
    return Ridge(alpha=alpha).fit(data, target)


def predict(model: Any, data: list[list[float]]) -> list[float]:
    """Predict one number for each row."""
    return model.predict(np.asarray(data)).tolist()  # type: ignore[no-any-return]


def score(truth: list[float], predicted: list[float]) -> dict[str, float]:
    """Score predictions: mse in squared units of the target, r2 at most 1."""
    errors = np.asarray(truth) - np.asarray(predicted)
    mse = float(np.mean(errors**2))
    return {"mse": mse, "r2": 1 - mse / float(np.var(truth))}


def write_outputs(folder: Path, model: Ridge, rows: Split) -> dict[str, float]:
    """Write what a run leaves behind: the model, its metrics, the held-out rows and the data's hash."""
    folder.mkdir(parents=True, exist_ok=True)
    metrics = score(rows.holdout_target.tolist(), predict(model, rows.holdout_data.tolist()))
    sha256 = hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in rows[1:])).hexdigest()
    holdout = {
        "columns": rows.columns,
        "data": rows.holdout_data.tolist(),
        "target": rows.holdout_target.tolist(),
    }
    joblib.dump(model, folder / "model.joblib")
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "data.json").write_text(json.dumps({"sha256": sha256, "rows": len(rows.data)}))
    (folder / "holdout.json").write_text(json.dumps(holdout))
    return metrics


def main() -> None:
    """Train with the parameters given as arguments and write `outputs/`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alpha", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    args = parser.parse_args()
    rows = split(args.seed)
    model = fit(rows.data, rows.target, args.alpha)
    metrics = write_outputs(args.outputs, model, rows)
    print(f"alpha {args.alpha}, {len(rows.data)} rows, " + ", ".join(f"{k} {v:.4f}" for k, v in metrics.items()))


if __name__ == "__main__":
    main()
