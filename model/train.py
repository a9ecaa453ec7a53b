"""Train the diabetes model.

A release runs this file as a script, and imports `predict` and `score` to compare models.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
from checks import Array, DataError
from data import Rows, load
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split


class Split(NamedTuple):
    """Rows to fit on and rows held out, features of shape (rows, columns) in the order of `columns`."""

    columns: list[str]
    data: Array
    target: Array
    holdout_data: Array
    holdout_target: Array


def split(rows: Rows, seed: int, by_content: bool) -> Split:
    """Hold out a fifth of the rows.

    `by_content` chooses them by a hash of each row: a row stays on its side when others are added. Then the gate never
    compares models on rows that the model in production was trained on.
    """
    if by_content:
        holdout = np.array([hashlib.sha256(b"%d " % seed + row.tobytes()).digest()[0] < 256 // 5 for row in rows.data])
        return Split(rows.columns, rows.data[~holdout], rows.target[~holdout], rows.data[holdout], rows.target[holdout])
    data, holdout_data, target, holdout_target = train_test_split(
        rows.data, rows.target, test_size=0.2, random_state=seed
    )
    return Split(rows.columns, data, target, holdout_data, holdout_target)


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


def write_outputs(folder: Path, model: Ridge, rows: Split, file: Path | None) -> dict[str, float]:
    """Write the outputs of a run: the model, its metrics, the held-out rows, and the identity of the data."""
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
    identity = {"sha256": sha256, "rows": len(rows.data)} | ({"file": file.name} if file else {})
    (folder / "data.json").write_text(json.dumps(identity))
    (folder / "holdout.json").write_text(json.dumps(holdout))
    return metrics


def main() -> None:
    """Train with the arguments as parameters, and write `outputs/`. Data with faults end the script with code 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alpha", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--data", type=Path, help="a .csv or .parquet file instead of scikit-learn's sample")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    args = parser.parse_args()
    try:
        rows = split(load(args.data), args.seed, by_content=args.data is not None)
    except (DataError, ImportError) as error:
        sys.exit(str(error))
    model = fit(rows.data, rows.target, args.alpha)
    metrics = write_outputs(args.outputs, model, rows, args.data)
    print(f"alpha {args.alpha}, {len(rows.data)} rows, " + ", ".join(f"{k} {v:.4f}" for k, v in metrics.items()))


if __name__ == "__main__":
    main()
