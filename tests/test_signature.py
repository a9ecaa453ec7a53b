"""The signature: what is derived from a hold-out, whatever its rows and predictions are."""

import math
from typing import Any

import pytest

from lib.forks.signature import SignatureError, brief, derive

pytestmark = pytest.mark.quick

CITIES = ["Rome", "Oslo", "Rome", None]
CUSTOMERS = [{"age": 20 + n, "city": CITIES[n % 4], "note": f"text {n}"} for n in range(40)]


def columns(signature: dict[str, Any], of: str = "rows") -> dict[str, dict[str, Any]]:
    return {column["name"]: column for column in signature[of]["columns"]}


def test_a_table_with_text_and_missing_values_has_types_shares_and_an_example() -> None:
    signature = derive(CUSTOMERS, ["age", "city", "note"], [n / 2 for n in range(40)])
    found = columns(signature)
    assert {name: (one["type"], one["optional"], one["missing"]) for name, one in found.items()} == {
        "age": ("integer", False, 0.0),
        "city": ("string", True, 0.25),
        "note": ("string", False, 0.0),
    }
    assert (found["city"]["categories"], found["city"]["shares"]) == (["Rome", "Oslo"], [0.666667, 0.333333])
    assert (found["age"]["lowest"], found["age"]["highest"], found["age"]["edges"][0]) == (20, 59, 24)
    assert sum(found["age"]["shares"]) == pytest.approx(1)
    assert "categories" not in found["note"]  # texts that do not repeat may be personal
    assert signature["rows"]["example"] == CUSTOMERS[0]
    assert len(columns(signature, "predictions")[""]["edges"]) == 9


ROWS: dict[str, tuple[list[Any], list[str], str, dict[str, str]]] = {
    "lists without names": ([[1, 2.5], [2, 3]], [], "list", {"0": "integer", "1": "number"}),
    "lists with names": ([[1, "x"], [None, "y"]], ["a", "b"], "list", {"a": "integer", "b": "string"}),
    "texts": (["good", "bad", None], [], "value", {"": "string"}),
    "sequences of several lengths": ([[1, 2], [3]], [], "list", {}),
    "lists in a column": ([{"x": [1, 2]}, {"x": [3]}], [], "object", {"x": "array"}),
    "a column of several types": ([[1], ["one"]], [], "list", {"0": "any"}),
    "booleans": ([[True], [False]], [], "list", {"0": "boolean"}),
    "columns that some rows lack": ([{"x": 1}, {"x": 2, "y": 3}], ["x"], "object", {"x": "integer", "y": "integer"}),
}


@pytest.mark.parametrize(("rows", "names", "kind", "types"), ROWS.values(), ids=ROWS.keys())
def test_rows_of_each_kind_have_a_signature(
    rows: list[Any], names: list[str], kind: str, types: dict[str, str]
) -> None:
    signature = derive(rows, names, [0.5] * len(rows))["rows"]
    assert signature["kind"] == kind
    assert {column["name"]: column["type"] for column in signature["columns"]} == types
    assert set(brief(signature)) == {"kind", "named", "columns"}


@pytest.mark.parametrize(
    ("predictions", "kind", "types"),
    [
        ([[0.5, 0.5], [1.0, 0.0]], "list", {"0": "number", "1": "number"}),
        (["yes", "no"] * 4, "value", {"": "string"}),
        ([{"label": "yes", "p": 0.5}], "object", {"label": "string", "p": "number"}),
        ([1, [2]], "any", {}),
    ],
)
def test_predictions_of_each_kind_have_a_signature(predictions: list[Any], kind: str, types: dict[str, str]) -> None:
    signature = derive([[1]], [], predictions)["predictions"]
    assert signature["kind"] == kind
    assert {column["name"]: column["type"] for column in signature["columns"]} == types


@pytest.mark.parametrize(
    ("rows", "names", "said"),
    [([[1], {"x": 1}], [], "row 1 one of objects"), ([[1, 2], [3]], ["a", "b"], "row 1 of the hold-out has 1 values")],
)
def test_rows_without_a_signature_are_named(rows: list[Any], names: list[str], said: str) -> None:
    with pytest.raises(SignatureError, match=said):
        derive(rows, names, [0, 0])


def test_infinite_numbers_are_in_no_bin() -> None:
    (column,) = derive([[math.inf], [1.0], [2.0], [3.0]], [], [0] * 4)["rows"]["columns"]
    assert (column["lowest"], column["highest"]) == (1.0, 3.0)
