"""Read the rows in the body of a request, and check them by the signature. The error names the row and the column.

This file goes into images of models without a service/score.py. It imports the standard library only.
"""

import json
import math
from typing import Any

LISTS = ("data", "inputs", "dataframe_records")  # the last two are MLflow's
SPLIT = "dataframe_split"  # MLflow's, and pandas': {"columns": names, "data": rows}
SHOWN = 60  # characters of a wrong value in a message
WANTED = {
    "integer": "a number",
    "number": "a number",
    "boolean": "true or false",
    "string": "text",
    "array": "a list",
    "object": "an object",
    "any": "a value",
}

Row = Any
Signature = dict[str, Any]


class BadRequestError(ValueError):
    """A body whose rows cannot be scored. The message says why, and names the row and the column."""


def read_rows(body: bytes, signature: Signature) -> list[Row]:
    """Return the rows in a body in the form of the hold-out's rows. Raises BadRequestError for the first fault.

    Rows may be lists in the order of the columns or objects with their names, whichever the hold-out has.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the body is not JSON: {error}") from None
    rows = _rows(content)
    if not isinstance(rows, list) or not rows:
        raise BadRequestError("there must be a list with at least one row")
    return [_checked(row, f"row {number}", signature) for number, row in enumerate(rows)]


def _rows(content: Any) -> Any:
    """Return what a body has as its rows. Rows of columns with names become objects."""
    name = next((name for name in (*LISTS, SPLIT) if isinstance(content, dict) and name in content), None)
    if name is None:
        raise BadRequestError('the body must be an object with "data" (or MLflow\'s "inputs" or "dataframe_split")')
    rows = content[name]
    if name == SPLIT:
        if not isinstance(rows, dict) or not isinstance(rows.get("data"), list):
            raise BadRequestError(f'"{SPLIT}" must be {{"columns": names, "data": rows}}')
        return _named(rows["data"], rows["columns"]) if rows.get("columns") else rows["data"]
    if isinstance(rows, dict) and name == "inputs":  # a list for each column
        if not all(isinstance(cells, list) for cells in rows.values()) or len(set(map(len, rows.values()))) != 1:
            raise BadRequestError('"inputs" must have lists of the same length')
        return _named([list(cells) for cells in zip(*rows.values(), strict=True)], list(rows))
    return rows


def _named(rows: list[Any], names: Any) -> list[Row]:
    if not isinstance(names, list):
        raise BadRequestError('"columns" must be a list of names')
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(names):
            raise BadRequestError(f"row {number} must be a list of {len(names)} values, one for each column")
    return [dict(zip(map(str, names), row, strict=True)) for row in rows]


def _checked(row: Row, place: str, signature: Signature) -> Row:
    """Return a row in the hold-out's form. Raises BadRequestError."""
    kind, columns, names = signature["kind"], signature["columns"], [column["name"] for column in signature["columns"]]
    if kind == "value":
        return _value(row, place, columns[0])
    if isinstance(row, dict) and (kind == "object" or signature["named"]):
        row = _in_order(row, place, columns)
    elif not isinstance(row, list):
        raise BadRequestError(f"{place} must be {_wanted_row(signature)}, not {_shown(row)}")
    elif names and len(row) != len(names):
        raise BadRequestError(f"{place} has {len(row)} values, it must have {len(names)}: {', '.join(names)[:SHOWN]}")
    if not names:
        return row  # lists of any length: there is nothing to check them by
    values = [
        _value(value, f"{place}, column {column['name']!r}", column) for value, column in zip(row, columns, strict=True)
    ]
    return dict(zip(names, values, strict=True)) if kind == "object" else values


def _wanted_row(signature: Signature) -> str:
    if not signature["columns"]:
        return "a list"
    count = len(signature["columns"])
    return f"a list of {count} values" + (" or an object with their names" if signature["named"] else "")


def _in_order(row: dict[str, Any], place: str, columns: list[Signature]) -> list[Any]:
    """Return the values of an object in the order of the columns, None for an optional one that it has not."""
    names = {column["name"] for column in columns}
    for name in row:
        if name not in names:
            raise BadRequestError(f"{place} has an unknown column {name!r}")
    for column in columns:
        if column["name"] not in row and not column["optional"]:
            raise BadRequestError(f"{place} has no column {column['name']!r}")
    return [row.get(column["name"]) for column in columns]


def _value(value: Any, place: str, column: Signature) -> Any:
    if value is None and column["optional"]:
        return None
    if not _fits(value, column["type"]):
        raise BadRequestError(f"{place} must be {WANTED[column['type']]}, not {_shown(value)}")
    return value


def _fits(value: Any, kind: str) -> bool:
    if kind in ("integer", "number"):
        try:
            return type(value) in (int, float) and math.isfinite(value)
        except OverflowError:  # a whole number of more than 308 digits
            return False
    kinds = {"boolean": bool, "string": str, "array": list, "object": dict}
    return isinstance(value, kinds[kind]) if kind in kinds else value is not None


def _shown(value: Any) -> str:
    return json.dumps(value)[:SHOWN]
