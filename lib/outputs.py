"""What model/train.py leaves in outputs/, on every platform."""

import json
from pathlib import Path

from lib.errors import ReleaseError

MODEL = "model.joblib"
OUTPUTS = (MODEL, "metrics.json", "holdout.json", "data.json")


def missing(filename: str) -> ReleaseError:
    """Return the error for an output that was not written."""
    return ReleaseError(f"model/train.py did not write outputs/{filename}\nCONTRIBUTING.md lists what it has to write")


def read_metrics(path: Path) -> dict[str, float]:
    """Read metrics. Raises ReleaseError where they are not names with numbers."""
    try:
        return {name: float(value) for name, value in json.loads(path.read_bytes()).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ReleaseError(f"outputs/metrics.json must map names to numbers: {error}") from None
