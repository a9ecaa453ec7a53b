"""What model/train.py leaves in outputs/, on every platform."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lib.errors import ReleaseError
from lib.files import digest

MODEL = "model.joblib"
MODELS = (MODEL, "model.pkl")
MODEL_FOLDER = "model"
HOLDOUTS = ("holdout.json", "holdout.csv", "holdout.parquet")
TRAINING_ROWS = ("training_rows.json", "training_rows.csv", "training_rows.parquet")  # not kept, only their digests
METRICS, DATA, SOURCE, SIGNATURE = "metrics.json", "data.json", "source.tar", "signature.json"
ROWS = "training-rows.bin"  # the digests of the rows that the model was trained on, see lib.forks.rows
OTHERS = (*HOLDOUTS, METRICS, DATA, SOURCE, SIGNATURE, ROWS)


def missing(filename: str) -> ReleaseError:
    """Return the error for an output that was not written."""
    return ReleaseError(
        f"model/train.py did not write outputs/{filename}\ndocs/own-model.md lists the files that it must write"
    )


def names(folder: Path) -> list[str]:
    """Return the names of all files in outputs/, those in its folders with their path."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def model_files(outputs: Iterable[str]) -> list[str]:
    """Return which outputs are the model: all in model/, or else model.joblib, model.pkl, or the only other file.

    Raises ReleaseError if there is no such file, or more than one.
    """
    files = sorted(outputs)
    if parts := [name for name in files if name.startswith(f"{MODEL_FOLDER}/")]:
        return parts
    others = [
        name for name in files if name not in (*OTHERS, *TRAINING_ROWS) and "/" not in name and not name.startswith(".")
    ]
    usual = [name for name in MODELS if name in others]
    if not others:
        raise missing(MODEL)
    if not usual and len(others) > 1:
        raise ReleaseError(
            f"model/train.py wrote {', '.join(others[:3])} into outputs/: which of them is the model is not known\n"
            f"Name it {MODEL}, or write all files of the model into outputs/{MODEL_FOLDER}/"
        )
    return [(usual or others)[0]]


def model_digest(outputs: dict[str, str]) -> str:
    """Return what identifies a model: its file's sha256, or the digest of its files' names and digests."""
    files = model_files(outputs)
    if files == [Path(files[0]).name]:
        return outputs[files[0]]
    return digest("".join(f"{outputs[name]}  {name}\n" for name in files).encode())


def holdout_of(outputs: Iterable[str]) -> str:
    """Return which output is the hold-out; an empty string if none is."""
    return next((name for name in HOLDOUTS if name in outputs), "")


def kept(outputs: Iterable[str]) -> list[str]:
    """Return which outputs a run keeps. Raises ReleaseError if one that every run must have is missing."""
    files = list(outputs)
    model = model_files(files)
    if absent := [name for name in (METRICS, DATA) if name not in files]:
        raise missing(absent[0])
    return [*model, *(name for name in OTHERS if name in files)]


def _finite(value: Any) -> float:
    """Return a number. NaN and infinity cannot be compared, and JSON cannot hold them."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    return float(value)


def read_metrics(path: Path) -> dict[str, float]:
    """Read metrics. Raises ReleaseError unless they map names to finite numbers."""
    try:
        return {name: _finite(value) for name, value in json.loads(path.read_bytes()).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ReleaseError(f"outputs/metrics.json must map names to numbers: {error}") from None


def read_data(path: Path) -> dict[str, Any]:
    """Read what identifies the data. Raises ReleaseError if it is not JSON."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ReleaseError(f"outputs/data.json is not JSON: {error}") from None
    return content if isinstance(content, dict) else {"data": content}


def same_data(before: Path, after: Path) -> bool:
    """Return whether two data.json describe the same data, whatever its file is called."""
    try:
        old, new = (read_data(path) | {"file": None} for path in (before, after))
    except ReleaseError:
        return before.read_bytes() == after.read_bytes()
    return old == new
