"""What model/train.py leaves in outputs/, on every platform."""

import json
import math
from pathlib import Path
from typing import Any

from lib.errors import ReleaseError

MODEL = "model.joblib"
OUTPUTS = (MODEL, "metrics.json", "holdout.json", "data.json")


def missing(filename: str) -> ReleaseError:
    """Return the error for an output that was not written."""
    return ReleaseError(
        f"model/train.py did not write outputs/{filename}\ndocs/own-model.md lists the files that it must write"
    )


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
