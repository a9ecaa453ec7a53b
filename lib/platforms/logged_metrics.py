"""Metrics that a script logs with MLflow or with Azure's Run.log, instead of writing outputs/metrics.json."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

FOLDER = "mlruns"
# MLflow writes files below outputs/, which every platform brings back. It no longer likes to, but its other stores need
# a server or a database.
VARIABLES = {"MLFLOW_TRACKING_URI": f"outputs/{FOLDER}", "MLFLOW_ALLOW_FILE_STORE": "true"}
# What azureml-core prints for a run outside of Azure.
SCALAR = re.compile(r"^Attempted to log scalar metric (.+):\n(\S+)$", re.MULTILINE)


def read(outputs: Path, log: Path) -> dict[str, float]:
    """Return the last value of each metric that a script has logged."""
    texts = dict(SCALAR.findall(log.read_text(errors="replace"))) if log.is_file() else {}
    values = {name: float(text) for name, text in texts.items() if _is_number(text)}
    values |= {name: value for _, name, value in sorted(_from_mlflow(outputs / FOLDER))}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _from_mlflow(folder: Path) -> Iterator[tuple[int, str, float]]:
    """Yield time, name and value of each logged metric: a file for each, with lines of time, value and step."""
    for metrics in folder.glob("*/*/metrics"):
        for path in (path for path in metrics.rglob("*") if path.is_file()):
            for line in path.read_text().splitlines():
                time, value, *_ = line.split()
                yield int(time), path.relative_to(metrics).as_posix(), float(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
