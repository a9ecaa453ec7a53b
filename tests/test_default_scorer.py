"""A model without service/score.py: the release builds its scorer from predict() and the signature."""

import json
from pathlib import Path
from typing import Any

import pytest

from lib.errors import ReleaseError
from lib.forks import rehearsal, signature
from lib.forks.client import CallError, Forks
from lib.forks.rehearsal import Rehearsed
from lib.forms import Form
from lib.image.assemble import assemble
from lib.image.body import BadRequestError, read_rows
from tests.support.project import ROOT

pytestmark = pytest.mark.quick

NAMES = ["age", "city", "vip"]
LISTS: list[list[Any]] = [[30, "Rome", True], [41.5, None, False], [20, "Oslo", False]]
OBJECTS = [dict(zip(NAMES, row, strict=True)) for row in LISTS]
TABLE = signature.derive(OBJECTS, NAMES, [0.0])["rows"]
NUMBERS = signature.derive([[1.0, 2.0], [3.0, 4.0]], [], [0.0])["rows"]
TEXTS = signature.derive(["good", "bad"], [], [0.0])["rows"]

BODIES: dict[str, Any] = {
    "data with objects": {"data": OBJECTS},
    "data with lists": {"data": LISTS},
    "MLflow's inputs": {"inputs": OBJECTS},
    "MLflow's inputs by column": {"inputs": {name: [row[name] for row in OBJECTS] for name in reversed(NAMES)}},
    "MLflow's records": {"dataframe_records": [{"age": 30, "city": "Rome", "vip": True}, *OBJECTS[1:]]},
    "MLflow's split": {"dataframe_split": {"index": [0, 1, 2], "columns": NAMES, "data": LISTS}},
    "an optional column left out": {"data": [OBJECTS[0], {"age": 41.5, "vip": False}, OBJECTS[2]]},
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_the_same_rows_are_read_from_each_form_of_a_request(body: Any) -> None:
    assert read_rows(json.dumps(body).encode(), TABLE) == OBJECTS
    listed = TABLE | {"kind": "list"}
    assert read_rows(json.dumps(body).encode(), listed) == LISTS


BAD: list[tuple[dict[str, Any], str, str]] = [
    (TABLE, "{", "the body is not JSON"),
    (TABLE, "[" * 100_000, "the body is not JSON"),
    (TABLE, '{"rows": []}', '"data"'),
    (TABLE, '{"data": []}', "at least one row"),
    (TABLE, '{"data": [[30, "Rome"]]}', "row 0 has 2 values, it must have 3: age, city, vip"),
    (TABLE, '{"data": [[30, "Rome", true], {"age": 30}]}', "row 1 has no column 'vip'"),
    (TABLE, '{"data": [{"age": 30, "vip": true, "x": 1}]}', "row 0 has an unknown column 'x'"),
    (TABLE, '{"data": [["old", "Rome", true]]}', "row 0, column 'age' must be a number, not \"old\""),
    (TABLE, '{"data": [[NaN, "Rome", true]]}', "row 0, column 'age' must be a number, not NaN"),
    (TABLE, '{"data": [[1e999, "Rome", true]]}', "row 0, column 'age' must be a number"),
    (TABLE, f'{{"data": [[1{"0" * 400}, "Rome", true]]}}', "row 0, column 'age' must be a number"),
    (TABLE, '{"data": [[true, "Rome", true]]}', "row 0, column 'age' must be a number, not true"),
    (TABLE, '{"data": [[null, "Rome", true]]}', "row 0, column 'age' must be a number, not null"),
    (TABLE, '{"data": [[30, 5, true]]}', "row 0, column 'city' must be text, not 5"),
    (TABLE, '{"data": [[30, "Rome", 1]]}', "row 0, column 'vip' must be true or false, not 1"),
    (TABLE, '{"data": ["Rome"]}', "row 0 must be a list of 3 values or an object with their names"),
    (TABLE, '{"dataframe_split": {"columns": ["age"], "data": [[1, 2]]}}', "row 0 must be a list of 1 values"),
    (TABLE, '{"dataframe_split": [1]}', '"dataframe_split" must be'),
    (TABLE, '{"inputs": {"age": [1], "city": []}}', '"inputs" must have lists of the same length'),
    (NUMBERS, '{"data": [[1, 2], [3]]}', "row 1 has 1 values, it must have 2"),
    (NUMBERS, '{"data": [[1, "2"]]}', "row 0, column '1' must be a number"),
    (NUMBERS, '{"data": [{"0": 1, "1": 2}]}', "row 0 must be a list of 2 values, not"),
    (TEXTS, '{"data": ["good", 5]}', "row 1 must be text, not 5"),
]


@pytest.mark.parametrize(("described", "body", "said"), BAD)
def test_a_bad_row_is_named_with_its_column(described: dict[str, Any], body: str, said: str) -> None:
    with pytest.raises(BadRequestError) as raised:
        read_rows(body.encode(), described)
    assert said in str(raised.value)


def test_rows_of_single_texts_and_lists_of_any_length_are_read() -> None:
    assert read_rows(b'{"inputs": ["good", "bad"]}', TEXTS) == ["good", "bad"]
    sequences = signature.derive([[1], [2, 3]], [], [0.0])["rows"]
    assert read_rows(b'{"data": [[1, 2, 3]]}', sequences) == [[1, 2, 3]]


EVALUATION = """
from pathlib import Path
from helpers.prices import price
def load(path): return float(Path(path).read_text())
def predict(model, rows): return [price(row, model) for row in rows]
"""
PRICE = "def price(row, factor):\n    return None if row['city'] == 'Paris' else row['age'] * factor\n"


def image(folder: Path, price: str = PRICE) -> Path:
    """Assemble the image of a model without a service/score.py, whose predict() uses a module beside it."""
    source = folder / "source"
    (source / "model/helpers").mkdir(parents=True)
    (source / "model/evaluation.py").write_text(EVALUATION)
    (source / "model/helpers/prices.py").write_text(price)
    (source / "config").symlink_to(ROOT / "config")
    (source / "factor.txt").write_text("2")
    (source / "signature.json").write_text(json.dumps(signature.derive(OBJECTS, NAMES, [0.0])))
    made = assemble(source, source / "factor.txt", "", "", source / "signature.json")
    made.write(folder / "image")
    return folder / "image"


def rehearse(forks: Forks, folder: Path, predictions: list[Any]) -> Rehearsed:
    return forks.call(
        rehearsal.rehearse,
        folder=str(folder),
        rows=OBJECTS,
        names=NAMES,
        predictions=predictions,
        strict=True,
        columns=signature.brief(TABLE)["columns"],
    )


def test_the_scorer_predicts_by_the_owners_functions_and_refuses_every_bad_body(forks: Forks, tmp_path: Path) -> None:
    found = rehearse(forks, image(tmp_path), [60.0, 83.0, 40.0])
    assert (found["request"], found["response"]) == ('{"data": ROWS}', '{"result": PREDICTIONS}')
    assert found["refused"] == [
        "a body that is not JSON",
        "a body without data",
        "a row that is too short",
        "a row with text",
    ]
    body = json.dumps({"data": [["young", "Rome", True]]})
    status, text = forks.call(rehearsal.score, folder=str(tmp_path / "image"), body=body)
    assert (status, json.loads(text)["message"]) == (400, "row 0, column 'age' must be a number, not \"young\"")


def test_a_difference_from_predict_is_a_failure(forks: Forks, tmp_path: Path) -> None:
    with pytest.raises(CallError, match=r"it answers 60.0 to row 0, predict\(\) 61.0"):
        rehearse(forks, image(tmp_path), [61.0, 83.0, 40.0])


def test_a_prediction_that_is_no_number_is_answered_with_an_error(forks: Forks, tmp_path: Path) -> None:
    made = image(tmp_path, PRICE.replace("None", "float('inf')"))
    body = json.dumps({"data": [OBJECTS[0], {"age": 1, "city": "Paris", "vip": True}]})
    status, text = forks.call(rehearsal.score, folder=str(made), body=body)
    assert (status, json.loads(text)["message"]) == (500, "row 1: the model predicts inf, which is not finite")


def test_without_a_signature_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    (tmp_path / "model.joblib").write_bytes(b"")
    with pytest.raises(ReleaseError, match=r"no signature[^\n]*\n`invoke train --force`"):
        assemble(tmp_path, tmp_path / "model.joblib", "", "")


BAD_BODIES: dict[str, tuple[list[Any], dict[str, Any], list[str]]] = {
    "a column that is needed": (OBJECTS, TABLE, ['{"data": [{"age": 30, "city": "Rome"}]}', '"vip": "text"']),
    "optional columns only": ([{"city": "Rome"}], signature.derive([{"city": "Rome"}, {}], ["city"], [0])["rows"], []),
    "texts": (["good"], TEXTS, ['{"data": [[]]}']),
    "lists with text": ([[1, "x"]], signature.derive([[1, "x"]], [], [0])["rows"], ["[[1]]", "[[1, []]]"]),
}


@pytest.mark.parametrize(("rows", "described", "said"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_smoke_tests_send_bad_rows_that_fit_the_signature(
    rows: list[Any], described: dict[str, Any], said: list[str]
) -> None:
    bodies = [body for _, body in Form().bad_bodies(rows, described["columns"])]
    assert len(bodies) == 2 + len(said)
    for body, words in zip(bodies[2:], said, strict=True):
        assert words in body.decode()
    for body in bodies:
        with pytest.raises(BadRequestError):
            read_rows(body, described)
