"""Propose a schema for a file of data: what `model/data.py` should accept, from the signature of the file's rows.

It runs beside the owner's model, because Parquet needs a package of its environment, and imports the standard library
only.
"""

import math
import statistics
from typing import Any

from lib.forks import holdout as holdouts
from lib.forks import signature

MARGIN = 0.5  # of the range of a column: values may be this much lower or higher than in the file
FEW_VALUES = 3  # numbers with so few values have no others
SPARE_MISSING = 1.5  # times as many values may be missing as in the file
DIGITS = 6

Proposal = dict[str, Any]


def propose(path: str, target: str) -> list[Proposal]:
    """Return for each column of a file, `target` last, the arguments of a column of the schema.

    Raises ValueError if the file is no table, or has no column `target`.
    """
    rows = holdouts.records(path)
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise ValueError("it has no rows with the names of columns")
    names = list(rows[0])
    if target not in names:
        raise ValueError(f"it has no column {target!r}, only {', '.join(names)}: name another one with --target")
    described = {column["name"]: column for column in signature.describe(rows, names)["columns"]}
    truth = [row[target] for row in rows]
    order = [*(name for name in names if name != target), target]
    return [_column(described[name], [row[name] for row in rows], truth) for name in order]


def _column(column: dict[str, Any], cells: list[Any], truth: list[Any]) -> Proposal:
    missing = {"missing": math.ceil(100 * SPARE_MISSING * column["missing"]) / 100} if column["optional"] else {}
    categories = [] if column.get("others") else column.get("categories", [])
    if column["type"] not in signature.NUMBERS:
        # The cells of booleans are text: True and False in files that pandas writes, true and false in others.
        spelled = ["False", "True", "false", "true"] if column["type"] == "boolean" else sorted(map(str, categories))
        return {"name": column["name"], "kind": "str"} | ({"values": spelled} if spelled else {}) | missing
    values = {"values": sorted(categories)} if 0 < len(categories) <= FEW_VALUES else {}
    return {"name": column["name"], "kind": _kind(column), **_numbers(column, cells, truth), **values, **missing}


def _kind(column: dict[str, Any]) -> str:
    return "int" if column["type"] == "integer" else "float"


def _numbers(column: dict[str, Any], cells: list[Any], truth: list[Any]) -> Proposal:
    """Return the range of valid values, and the distribution."""
    low, high = column["lowest"], column["highest"]
    spare = MARGIN * (high - low)
    pairs = [(cell, true) for cell, true in zip(cells, truth, strict=True) if cell is not None]
    present = [float(cell) for cell, _ in pairs]
    bounds = {"low": max(0.0, low - spare) if low >= 0 else low - spare, "high": high + spare}
    if _kind(column) == "int":
        bounds = {"low": math.floor(bounds["low"]), "high": math.ceil(bounds["high"])}
    spread = {"mean": statistics.fmean(present), "std": statistics.pstdev(present)}
    numbers = bounds | spread | {"correlation": _correlation(pairs)}
    return {
        name: float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value for name, value in numbers.items()
    }


def _correlation(pairs: list[tuple[Any, Any]]) -> float:
    both = [(float(cell), float(true)) for cell, true in pairs if isinstance(true, int | float)]
    if len({cell for cell, _ in both}) < 2 or len({true for _, true in both}) < 2:  # noqa: PLR2004 - a constant has none
        return 0.0
    return statistics.correlation(*zip(*both, strict=True))
