"""The signature of a model: what its rows and its predictions look like, derived from the hold-out.

    {"rows": {"kind": "object", "columns": [COLUMN, ...], "example": ROW},
     "predictions": {"kind": "value", "columns": [COLUMN], "example": PREDICTION}}

The kind is list, object, value (rows of a single value, such as a text) or any (of several kinds). A column has a
name, a type, whether it is optional, its share of missing values, and the distribution of the others: bins between
`edges` (quantiles), or categories, each with its share. It runs beside the owner's model and imports the standard
library only.
"""

import bisect
import collections
import math
from collections.abc import Sequence
from typing import Any

SCHEMA = 1
BINS = 10
MOST_CATEGORIES = 20
REPEATED = 2  # how often values repeat on average if they are categories
SAMPLED_ROWS = 20_000  # from which bins and shares are computed; missing values are counted in all rows
DIGITS = 6
TYPES = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}  # of JSON Schema
NUMBERS = ("integer", "number")

Values = list[Any]
Description = dict[str, Any]


class SignatureError(ValueError):
    """Rows that have no signature. The message names the row, and what to do."""


def derive(rows: Values, names: list[str], predictions: Values) -> Description:
    """Return the signature of rows, whose columns have `names` (or none), and of the predictions for some of them.

    Raises SignatureError if the rows are not all of one kind, or if lists do not have a value for each name.
    """
    of_rows = describe(rows, names)
    if of_rows["kind"] == "any":
        number, row = next((number, row) for number, row in enumerate(rows) if _kind(row) != _kind(rows[0]))
        first, other = (f"{_kind(row)}s".replace("values", "single values") for row in (rows[0], row))
        raise SignatureError(
            f"row 0 of the hold-out is one of {first}, row {number} one of {other}: write one kind only"
        )
    if names and of_rows["kind"] == "list":
        for number, row in enumerate(rows):
            if len(row) != len(names):
                raise SignatureError(
                    f"row {number} of the hold-out has {len(row)} values, but there are {len(names)} names"
                )
    return {"schema": SCHEMA, "rows": of_rows, "predictions": describe(predictions, [])}


def describe(values: Values, names: list[str]) -> Description:
    """Return the kind, the columns and an example of rows or predictions."""
    present = [value for value in values if value is not None]
    kinds = {_kind(value) for value in present} or {"value"}
    kind = kinds.pop() if len(kinds) == 1 else "any"
    columns = [_column(name, cells) for name, cells in _cells(kind, values, names)]
    return {"kind": kind, "named": bool(names) or kind == "object", "columns": columns, "example": _example(values)}


def brief(description: Description) -> Description:
    """Return a description without the distributions: what a request is checked by."""
    columns = [{name: column[name] for name in ("name", "type", "optional")} for column in description["columns"]]
    return {"kind": description["kind"], "named": description["named"], "columns": columns}


def _kind(value: Any) -> str:
    return "list" if isinstance(value, list) else "object" if isinstance(value, dict) else "value"


def _cells(kind: str, values: Values, names: list[str]) -> list[tuple[str, Values]]:
    """Return the values of each column; no columns for lists of several lengths, and for values of several kinds."""
    if kind == "any":
        return []
    if kind == "value":
        return [("", values)]
    if kind == "object":
        found = dict.fromkeys([*names, *(name for row in values if row is not None for name in row)])
        return [(name, [row.get(name) if row is not None else None for row in values]) for name in found]
    lists = [row for row in values if row is not None]
    if len({len(row) for row in lists}) != 1:
        return []
    columns = zip(*lists, strict=True)
    return [(names[index] if names else str(index), list(cells)) for index, cells in enumerate(columns)]


def _example(values: Values) -> Any:
    """Return the first value without a gap, or the first of all."""

    def is_complete(value: Any) -> bool:
        cells = value if isinstance(value, list) else value.values() if isinstance(value, dict) else [value]
        return None not in cells

    return next(filter(is_complete, values), values[0] if values else None)


def _column(name: str, cells: Values) -> Description:
    """Describe a column by its type, its missing values, and the distribution of the others."""
    gaps = cells.count(None)
    types = {TYPES.get(kind, "any") for kind in set(map(type, cells)) - {type(None)}}
    if types == set(NUMBERS):
        types = {"number"}
    kind = types.pop() if len(types) == 1 else "any"
    sample = cells[:: math.ceil(len(cells) / SAMPLED_ROWS) or 1]
    present = [value for value in sample if value is not None]
    missing = round(gaps / len(cells), DIGITS) if cells else 0.0
    return {"name": name, "type": kind, "optional": gaps > 0, "missing": missing} | _distribution(kind, present)


def _distribution(kind: str, values: Values) -> Description:
    """Return the categories of values that repeat, the bins of other numbers; nothing for texts that do not repeat."""
    if kind in NUMBERS:
        values = list(filter(math.isfinite, values))
    if kind not in (*NUMBERS, "boolean", "string") or not values:
        return {}
    counts = collections.Counter(values)
    most = BINS if kind in NUMBERS else MOST_CATEGORIES
    if kind in NUMBERS:
        limits = {"lowest": min(values), "highest": max(values)}
        few = len(counts) <= most and len(values) >= REPEATED * len(counts)
        return limits | (_categories(counts, most) if few else _bins(values))
    # Texts that hardly repeat are no categories, and may be personal.
    return _categories(counts, most) if len(values) >= REPEATED * len(counts) else {}


def _categories(counts: "collections.Counter[Any]", most: int) -> Description:
    common = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))[:most]
    shares = _shares([count for _, count in common], counts.total())
    others = max(0.0, round(1 - sum(shares), DIGITS)) if len(counts) > most else 0.0
    return {"categories": [value for value, _ in common], "shares": shares, "others": others}


def _bins(values: Values) -> Description:
    """Return the inner edges of bins, and the share of values in each bin: up to an edge, and above the last one."""
    ordered = sorted(values)
    edges = sorted({ordered[len(ordered) * number // BINS] for number in range(1, BINS)})
    counts = collections.Counter(bisect.bisect_left(edges, value) for value in ordered)
    return {"edges": edges, "shares": _shares([counts[number] for number in range(len(edges) + 1)], len(ordered))}


def _shares(counts: Sequence[int], total: int) -> list[float]:
    return [round(count / total, DIGITS) for count in counts]
