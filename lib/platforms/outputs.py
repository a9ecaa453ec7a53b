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
        f"model/train.py did not write outputs/{filename}\ndocs/own-model.md lists what it has to write"
    )


def finite(value: Any) -> float:
    """Return a number; NaN and infinity can be compared with nothing, and no record can hold them."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is none")
    return float(value)


def read_metrics(path: Path) -> dict[str, float]:
    """Read metrics. Raises ReleaseError where they are not names with numbers."""
    try:
        return {name: finite(value) for name, value in json.loads(path.read_bytes()).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ReleaseError(f"outputs/metrics.json must map names to numbers: {error}") from None


def read_data(path: Path) -> dict[str, Any]:
    """Read what identifies the data. Raises ReleaseError where it is no JSON."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ReleaseError(f"outputs/data.json is no JSON: {error}") from None
    return content if isinstance(content, dict) else {"data": content}


def same_data(before: Path, after: Path) -> bool:
    """Tell whether two data.json are of the same data, whatever its file was called."""
    try:
        told = [read_data(path) | {"file": None} for path in (before, after)]
    except ReleaseError:
        return before.read_bytes() == after.read_bytes()
    return told[0] == told[1]
