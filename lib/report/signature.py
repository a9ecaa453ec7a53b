"""The signature in a report: what rows and predictions look like, and an example of a request."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from lib.forms import Form, in_kind_of
from lib.release.records import ImageRecord
from lib.report.facts import Facts
from lib.report.svg import number

MOST_COLUMNS = 50
MOST_CATEGORIES = 4
MOST_CHARACTERS = 2000  # of the example


class Line(msgspec.Struct, frozen=True):
    """A column of the rows, or of the predictions."""

    name: str
    type: str
    missing: str
    values: str


def lines(facts: Facts) -> Iterator[Line]:
    """Yield a line for each column, the predictions last."""
    if not facts.signature:
        return
    columns = facts.signature["rows"]["columns"]
    for column in columns[:MOST_COLUMNS]:
        yield _line(column["name"] or "row", column)
    if len(columns) > MOST_COLUMNS:
        yield Line(f"and {len(columns) - MOST_COLUMNS} more", "", "", "")
    for column in facts.signature["predictions"]["columns"][:MOST_COLUMNS]:
        yield _line(f"prediction {column['name']}".strip(), column)


def request(facts: Facts) -> str:
    """Return the body of a request for one row, in the form that the rehearsal found; empty if none is known."""
    image, example = facts.get(ImageRecord), facts.signature.get("rows", {}).get("example")
    if image is None or example is None:
        return ""
    rows = in_kind_of(image.rows, [example], [column["name"] for column in image.columns or []])
    body = (image.form or Form()).body(rows).decode()
    return body if len(body) <= MOST_CHARACTERS else ""


def _line(name: str, column: dict[str, Any]) -> Line:
    missing = f"{column['missing']:.1%}" if column["missing"] else ""
    return Line(name, f"{column['type']}{', optional' if column['optional'] else ''}", missing, _values(column))


def _values(column: dict[str, Any]) -> str:
    """Describe a distribution: the most common categories, or the range and the median."""
    if "categories" in column:
        shares = list(zip(column["categories"], column["shares"], strict=True))
        more = f", {len(shares) - MOST_CATEGORIES} more" if len(shares) > MOST_CATEGORIES else ""
        return ", ".join(f"{_shown(value)} {share:.0%}" for value, share in shares[:MOST_CATEGORIES]) + more
    if "edges" in column:
        edges = column["edges"]
        middle = f", median {number(edges[len(edges) // 2])}" if edges else ""
        return f"{number(column['lowest'])} to {number(column['highest'])}{middle}"
    return ""


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else number(value) if isinstance(value, float) else json.dumps(value)
