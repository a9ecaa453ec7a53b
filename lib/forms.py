"""The form of a service's requests and answers: how rows are put into a body, and where an answer has the predictions.

Imports the standard library only, because it also runs beside the owner's model.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

ROWS = "ROWS"
PREDICTIONS = "PREDICTIONS"

Row = dict[str, Any] | list[Any]
Column = dict[str, Any]  # of a signature: name, type, optional


@dataclass(frozen=True)
class Form:
    """JSON with a placeholder: ROWS in a request, PREDICTIONS in an answer."""

    request: str = '{"data": ROWS}'
    response: str = '{"result": PREDICTIONS}'

    def body(self, rows: list[Any]) -> bytes:
        """Return the body of a request for rows."""
        before, _, after = self.request.rpartition(ROWS)  # the last, because a column may have this name
        return f"{before}{json.dumps(rows)}{after}".encode()

    def predictions(self, answer: Any) -> list[Any] | None:
        """Return the predictions in a parsed answer; None if it has another form."""
        place = json.loads(self.response.replace(PREDICTIONS, f'"{PREDICTIONS}"'))
        answer = _parsed(answer)
        while isinstance(place, dict):
            (name,) = place
            if not isinstance(answer, dict) or name not in answer:
                return None
            place, answer = place[name], _parsed(answer[name])
        return answer if isinstance(answer, list) else None

    def bad_bodies(self, rows: list[Any], columns: list[Column] | None = None) -> Iterator[tuple[str, bytes]]:
        """Yield bodies that a service should refuse, each with its description.

        `columns` are those of the signature; without one, all are needed and have the type of the first row's values.
        """
        yield "a body that is not JSON", b"{"
        yield "a body without data", b'{"rows": []}'
        row = rows[0]
        if isinstance(row, dict | list) and row:
            position = _needed(row, columns)
            if position is None:
                return
            yield "a row that is too short", self.body([_without(row, position)])
            kind, wrong = _wrong(list(row.values())[position] if isinstance(row, dict) else row[position])
            yield f"a row with {kind}", self.body([_with(row, position, wrong)])
        elif columns and not isinstance(row, dict | list):
            kind, wrong = _wrong(row)
            yield f"a row with {kind}", self.body([wrong])


# What Azure ML and MLflow document.
REQUESTS = [
    '{"data": ROWS}',
    '{"Inputs": {"data": ROWS}}',
    '{"Inputs": ROWS}',
    '{"input_data": ROWS}',
    '{"inputs": ROWS}',
    '{"instances": ROWS}',
    ROWS,
]
SPLIT = ["input_data", "dataframe_split", "data"]


def candidates(
    rows: list[Any], names: list[str], request: str = "", parameters: Sequence[str] = ()
) -> Iterator[tuple[str, list[Any]]]:
    """Yield requests in the documented forms, or only in one, each with the rows as they are, as objects and as lists.

    Rows become objects only if their columns have names. `parameters` are those of a run() with a schema.
    """
    columns = names or (list(rows[0]) if rows and isinstance(rows[0], dict) else [])
    listed = [[row.get(name) for name in columns] if isinstance(row, dict) else row for row in rows]
    named = [dict(zip(columns, row, strict=False)) if columns and isinstance(row, list) else row for row in rows]
    requests = [request] if request else [*(f"{{{json.dumps(name)}: ROWS}}" for name in parameters[:1]), *REQUESTS]
    kinds = [kind for number, kind in enumerate((rows, named, listed)) if number == 0 or kind != rows]
    yield from ((attempt, kind) for kind in kinds for attempt in requests)
    if columns and not request:
        split = f'{{"columns": {json.dumps(columns)}, "data": ROWS}}'
        yield from ((f'{{"{name}": {split}}}', listed) for name in SPLIT)


def in_kind_of(like: list[Any], rows: list[Any], names: list[str]) -> list[Any]:
    """Return rows as objects or as lists, as others are, if the names of the columns are known."""
    if not like or not names:
        return rows
    if isinstance(like[0], dict):
        return [dict(zip(names, row, strict=False)) if isinstance(row, list) else row for row in rows]
    if isinstance(like[0], list):
        return [
            [row[name] for name in names] if isinstance(row, dict) and row.keys() == set(names) else row for row in rows
        ]
    return rows


def response_of(answer: Any, count: int) -> str:
    """Return the form of an answer to `count` rows; an empty string if it has no list with a prediction for each."""
    answer = _parsed(answer)
    if isinstance(answer, list):
        return PREDICTIONS if len(answer) == count else ""
    for name, value in answer.items() if isinstance(answer, dict) else ():
        if inner := response_of(value, count):
            return f"{{{json.dumps(name)}: {inner}}}"
    return ""


def predictions_equal(value: Any, expected: Any) -> bool:
    """Return whether two predictions are equal: numbers to nine digits, since the last ones depend on the processor."""
    if isinstance(value, list) and isinstance(expected, list):
        return len(value) == len(expected) and all(map(predictions_equal, value, expected))
    if isinstance(value, dict) and isinstance(expected, dict):
        return value.keys() == expected.keys() and all(predictions_equal(value[name], expected[name]) for name in value)
    if isinstance(value, float | int) and isinstance(expected, float | int):
        return math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-12)
    return bool(value == expected)


def _needed(row: Row, columns: list[Column] | None) -> int | None:
    """Return the position of the last column that a row needs and whose type is known; None if there is none."""
    names = list(row) if isinstance(row, dict) else [column["name"] for column in columns or []]
    known = {column["name"]: column for column in columns or []}
    for position in reversed(range(len(row))):
        if columns is None:
            return position
        column = known.get(names[position] if position < len(names) else "")
        if column and not column["optional"] and column["type"] != "any":
            return position
    return None


def _without(row: Row, position: int) -> Row:
    if isinstance(row, dict):
        return {name: value for index, (name, value) in enumerate(row.items()) if index != position}
    return row[:position] + row[position + 1 :]


def _with(row: Row, position: int, value: Any) -> Row:
    if isinstance(row, dict):
        return {name: value if index == position else old for index, (name, old) in enumerate(row.items())}
    return [*row[:position], value, *row[position + 1 :]]


def _wrong(value: Any) -> tuple[str, Any]:
    """Return a value of another type. A text may be valid in a column of texts, a list is not."""
    return ("a list for a value", []) if isinstance(value, str) else ("text", "text")


def _parsed(answer: Any) -> Any:
    """Return what a text of JSON holds: scripts that return json.dumps(...) are answered with such a text."""
    if not isinstance(answer, str):
        return answer
    try:
        return json.loads(answer)
    except ValueError:
        return answer
