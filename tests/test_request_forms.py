"""The rehearsal finds the form of requests that a score.py takes, whichever of the documented ones it is."""

import json
from pathlib import Path
from typing import Any

import pytest

from lib.forks import rehearsal
from lib.forks.client import CallError, Forks
from lib.forks.rehearsal import Rehearsed
from lib.forms import Form
from lib.image.assemble import assemble
from tests.support.project import ROOT

pytestmark = pytest.mark.quick

NAMES = ["length", "width"]
ROWS = [[1.0, 2.0], [3.0, 5.0], [0.5, 0.25]]
AREAS = [2.0, 15.0, 0.125]
PLAIN = """
import json
def init():
    pass
def run(raw_data):
    {body}
"""
AREA = "[row[0] * row[1] for row in rows]"
NAMED = '[row["length"] * row["width"] for row in rows]'
DECORATED = """
import numpy
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.schema_decorators import input_schema, output_schema
def init():
    pass
@input_schema("measures", NumpyParameterType(numpy.array([[1.0, 2.0]])))
@output_schema(NumpyParameterType(numpy.array([1.0])))
def run(measures):
    return measures.prod(axis=1).tolist()
"""


def plain(rows: str, answer: str) -> str:
    return PLAIN.format(body=f"rows = {rows}\n    return {answer}")


DATA = 'json.loads(raw_data)["data"]'
FORMS = {
    "data and a list": (plain(DATA, AREA), '{"data": ROWS}', "PREDICTIONS"),
    "data and text of JSON": (plain(DATA, f"json.dumps({AREA})"), '{"data": ROWS}', "PREDICTIONS"),
    "data and an object": (plain(DATA, f'{{"areas": {AREA}}}'), '{"data": ROWS}', '{"areas": PREDICTIONS}'),
    "Inputs": (plain('json.loads(raw_data)["Inputs"]["data"]', AREA), '{"Inputs": {"data": ROWS}}', "PREDICTIONS"),
    "input_data": (plain('json.loads(raw_data)["input_data"]', AREA), '{"input_data": ROWS}', "PREDICTIONS"),
    "rows with names": (plain(DATA, NAMED), '{"data": ROWS}', "PREDICTIONS"),
    "a parameter of inference-schema": (DECORATED, '{"measures": ROWS}', "PREDICTIONS"),
    "columns": (
        plain('json.loads(raw_data)["input_data"]["data"]', AREA),
        '{"input_data": {"columns": ["length", "width"], "data": ROWS}}',
        "PREDICTIONS",
    ),
}


def rehearse(forks: Forks, folder: Path, script: str, **form: Any) -> Rehearsed:
    """Rehearse an image with a script."""
    source = folder / "source"
    (source / "service").mkdir(parents=True)
    (source / "service/score.py").write_text(script)
    (source / "config").symlink_to(ROOT / "config")
    (source / "model.joblib").write_bytes(b"no model")
    assemble(source, source / "model.joblib", requirements="", base="").write(folder / "image")
    arguments: dict[str, Any] = {"rows": ROWS, "names": NAMES, "predictions": AREAS} | form
    return forks.call(rehearsal.rehearse, folder=str(folder / "image"), **arguments)


@pytest.mark.parametrize("form", FORMS)
def test_the_rehearsal_finds_the_form_in_which_a_script_answers_as_predict(
    forks: Forks, tmp_path: Path, form: str
) -> None:
    script, request, response = FORMS[form]
    found = rehearse(forks, tmp_path, script)
    assert (found["request"], found["response"]) == (request, response)
    assert found["predictions"] == AREAS
    assert not [warning for warning in found["warnings"] if "predict()" in warning]


def test_a_form_that_no_document_has_comes_from_the_settings(forks: Forks, tmp_path: Path) -> None:
    script = plain('json.loads(raw_data)["flowers"]["measures"]', f'{{"out": {{"area": {AREA}}}, "n": 3}}')
    request, response = '{"flowers": {"measures": ROWS}}', '{"out": {"area": PREDICTIONS}}'
    found = rehearse(forks, tmp_path, script, request=request, response=response)
    assert Form(found["request"], found["response"]) == Form(request, response)
    assert found["predictions"] == AREAS


def test_answers_that_differ_from_predict_are_a_warning_and_become_what_is_expected(
    forks: Forks, tmp_path: Path
) -> None:
    found = rehearse(forks, tmp_path, plain(DATA, '["large" if row[0] > 1 else "small" for row in rows]'))
    assert found["predictions"] == ["small", "large", "small"]
    assert "service/score.py answers small to row 0, predict() 2.0" in found["warnings"]


def test_bad_bodies_that_are_not_refused_are_a_warning(forks: Forks, tmp_path: Path) -> None:
    found = rehearse(forks, tmp_path, plain('json.loads(raw_data).get("data", [])', AREA))
    assert "a body without data (200)" in found["warnings"][0]
    assert "a body that is not JSON (500)" in found["warnings"][0]
    assert found["refused"] == []


def test_the_error_of_a_script_is_reported_with_its_line(forks: Forks, tmp_path: Path) -> None:
    with pytest.raises(CallError, match=r"ZeroDivisionError: .* \(score.py, line 7\)"):
        rehearse(forks, tmp_path, plain(DATA, "[1 / 0]"))


def test_a_script_that_crashes_is_reported_with_its_line(forks: Forks, tmp_path: Path) -> None:
    with pytest.raises(CallError, match=r"it crashed: Segmentation fault \(score.py, line 7\)"):
        rehearse(forks, tmp_path, plain(DATA, '__import__("ctypes").string_at(0)'))


def test_a_body_has_rows_where_its_form_says_so_whatever_columns_are_called() -> None:
    form = Form('{"split": {"columns": ["ROWS"], "data": ROWS}}')
    assert json.loads(form.body([[1]])) == {"split": {"columns": ["ROWS"], "data": [[1]]}}
