"""Read a hold-out: rows that a model was not trained on, and their true values, from JSON, CSV or Parquet.

It runs beside the owner's model and imports the standard library only; Parquet needs pyarrow, which the model's
environment has if its script writes Parquet.
"""

import contextlib
import csv
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

FILES = ("holdout.json", "holdout.csv", "holdout.parquet")
TARGET = "target"
PARQUET = "{} is Parquet, which needs pyarrow: list it in the conda file"

# A row is a list of values, an object of values by column, or a single value. None is a missing value.
Row = Any


class HoldoutError(ValueError):
    """A hold-out that cannot be used. The message names the file, what is wrong, and the remedy."""


class Holdout(NamedTuple):
    """Rows, the true value of each, and the names of the columns (empty if they have none)."""

    rows: list[Row]
    truth: list[Any]
    names: list[str]


def read(path: str, target: str = TARGET) -> Holdout:
    """Read a hold-out whose column `target` has the true values. Raises HoldoutError.

    JSON is `{"data": rows, "target": values}` with optional "columns", or a list of objects. The rows of tables (CSV,
    Parquet, a list of objects) are objects with names.
    """
    name = Path(path).name
    try:
        # A run's outputs are stored under their digests, so the content decides which kind of file it is.
        content = Path(path).read_bytes()
        if content.startswith(b"PAR1"):
            holdout = _of_records(_parquet(path), target, name)
        elif content.lstrip()[:1] in (b"{", b"["):
            holdout = _of_json(json.loads(content), target, name)
        else:
            holdout = _of_records(_csv(content.decode("utf-8-sig")), target, name)
    except OSError as error:
        raise HoldoutError(f"{path} cannot be read: {error.strerror}") from None
    except ImportError:
        raise HoldoutError(PARQUET.format(name)) from None
    except ValueError as error:
        if isinstance(error, HoldoutError):
            raise
        raise HoldoutError(f"{name} is neither JSON, CSV nor Parquet: {error}") from None
    if not holdout.rows or len(holdout.rows) != len(holdout.truth):
        raise HoldoutError(f"{name} has {len(holdout.rows)} rows and {len(holdout.truth)} true values")
    return holdout


def records(path: str) -> list[Row]:
    """Return all rows of a CSV or Parquet file, or of a JSON list, with their true values. Raises ValueError."""
    content = Path(path).read_bytes()
    if content.startswith(b"PAR1"):
        try:
            return [_plain(row) for row in _parquet(path)]
        except ImportError:
            raise HoldoutError(PARQUET.format(Path(path).name)) from None
    if content.lstrip()[:1] == b"[":
        return [_plain(row) for row in json.loads(content)]
    return _csv(content.decode("utf-8-sig"))


def _of_json(content: Any, target: str, name: str) -> Holdout:
    """Read `{"data", "target", "columns"}`, pandas' "split" form with the target among its columns, or records."""
    if isinstance(content, list) and all(isinstance(row, dict) for row in content):
        return _of_records(content, target, name)
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise HoldoutError(f'{name} must be {{"data": rows, "{target}": values}}, or a list of objects')
    rows, names = content["data"], [str(column) for column in content.get("columns") or []]
    if target in content:
        rows = [_plain(row) for row in rows]
        names = names or (list(rows[0]) if rows and isinstance(rows[0], dict) else [])
        return Holdout(rows, _plain(list(content[target])), names)
    if target in names:
        return _of_records([dict(zip(names, row, strict=True)) for row in rows], target, name)
    return _of_records([row if isinstance(row, dict) else {} for row in rows], target, name)


def _of_records(records: list[dict[str, Any]], target: str, name: str) -> Holdout:
    """Split objects into rows and true values."""
    for number, record in enumerate(records):
        if target not in record:
            columns = ", ".join(record) or "no names"
            raise HoldoutError(f"{name}, row {number}: no column {target!r} (gate.target), only {columns}")
    truth = [_plain(record[target]) for record in records]
    rows = [{column: _plain(value) for column, value in record.items() if column != target} for record in records]
    return Holdout(rows, truth, list(rows[0]) if rows else [])


def _csv(text: str) -> list[dict[str, Any]]:
    """Read CSV. A column is numeric if all its values are numbers or missing; an empty cell is missing."""
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    try:
        header, *lines = [line for line in reader if line]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from None
    if uneven := next((line for line in lines if len(line) != len(header)), None):
        raise ValueError(f"a row has {len(uneven)} values, the header has {len(header)}: {','.join(uneven)[:60]}")
    columns = [_column(values) for values in zip(*lines, strict=True)]
    return [dict(zip(header, row, strict=True)) for row in zip(*columns, strict=True)]


def _column(cells: tuple[str, ...]) -> list[Any]:
    """Return the values of a column of text: whole numbers, numbers, booleans, or else the text itself."""
    present = {cell for cell in cells if cell}
    if present and present <= {"True", "False", "true", "false"}:
        return [cell.lower() == "true" if cell else None for cell in cells]
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return [_plain(kind(cell)) if cell else None for cell in cells]
    return [cell or None for cell in cells]


def _parquet(path: str) -> list[dict[str, Any]]:
    """Read Parquet without the index that pandas stores as a column."""
    import pyarrow.parquet

    records: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
    return [{name: value for name, value in row.items() if not name.startswith("__index_level_")} for row in records]


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold: NaN is a missing value, and dates are text."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
