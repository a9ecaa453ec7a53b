"""Score rows with the model in a web service."""

import math
import os
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import orjson
from azureml_inference_server_http.api.aml_request import AMLRequest, rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse
from numpy.typing import NDArray

COLUMNS = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]

model: Any = None


class BadInputError(ValueError):
    """The rows cannot be scored. The message says why, and in which row."""


def init() -> None:
    """Load the model from AZUREML_MODEL_DIR."""
    global model  # noqa: PLW0603 - Azure's server keeps the state of a script in its module
    model = joblib.load(next(Path(os.environ["AZUREML_MODEL_DIR"]).rglob("model.joblib")))


@rawhttp  # type: ignore[untyped-decorator]  # Azure's server ships no types
def run(request: AMLRequest) -> AMLResponse:
    """Answer `{"data": rows}` with `{"result": predictions}`, and an invalid request with status 4xx."""
    if request.method != "POST":
        return answer({"message": "POST rows to this address"}, 405)
    try:
        rows = read_rows(request.get_data())
    except BadInputError as error:
        return answer({"message": str(error)}, 400)
    predictions = model.predict(rows)
    if not np.isfinite(predictions).all():  # JSON has no such number
        row = int(np.argmin(np.isfinite(predictions)))
        return answer({"message": f"row {row}: the prediction is {predictions[row]}, not a finite number"}, 500)
    return answer({"result": predictions}, 200)


def answer(body: dict[str, Any], status: int) -> AMLResponse:
    """Build a response."""
    content = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    return AMLResponse(content, status, {"Content-Type": "application/json"})


def read_rows(body: bytes) -> NDArray[np.float64]:
    """Read rows of 10 finite numbers each; the array has shape (rows, 10).

    A row is a list in the order of COLUMNS, or an object with their names. Raises BadInputError for the first fault.
    """
    try:
        rows = orjson.loads(body)["data"]
    except orjson.JSONDecodeError as error:
        raise BadInputError(f"the body is not JSON: {error}") from None
    except (TypeError, KeyError):
        raise BadInputError('the body must be an object with "data"') from None
    if not isinstance(rows, list) or not rows:
        raise BadInputError('"data" must be a list with at least one row')
    has_names = any(isinstance(row, dict) for row in rows)
    values = [_in_order(row, index) for index, row in enumerate(rows)] if has_names else rows
    return _check(values, has_booleans=b"true" in body or b"false" in body)


def _in_order(row: Any, index: int) -> list[Any]:
    """Return the values of a row with names, in the order of COLUMNS."""
    if not isinstance(row, dict):
        raise BadInputError(f"row {index} must have names, as other rows do")
    for name in row.keys() ^ set(COLUMNS):
        raise BadInputError(f"row {index} has {'an unknown' if name in row else 'no'} column {name!r}")
    return [row[name] for name in COLUMNS]


def _check(rows: list[Any], has_booleans: bool) -> NDArray[np.float64]:
    """Return rows as an array. Raises BadInputError for the first fault.

    Checking each cell in Python is slow. It happens only to name a fault, or if there may be booleans, which NumPy
    converts to numbers.
    """
    values = _to_array(rows)
    if values is not None and not has_booleans:
        return values
    for index, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(COLUMNS):
            raise BadInputError(f"row {index} must be a list of {len(COLUMNS)} numbers")
        for name, value in zip(COLUMNS, row, strict=True):
            if type(value) not in (int, float) or not math.isfinite(value):
                raise BadInputError(
                    f"row {index}, column {name!r} must be a finite number, not {orjson.dumps(value).decode()}"
                )
    if values is None:
        raise BadInputError('"data" contains a number that is too large')
    return values


def _to_array(rows: list[Any]) -> NDArray[np.float64] | None:
    """Return rows as an array, or None if they are not rows of finite numbers with the right length."""
    try:
        values = np.array(rows)
    except ValueError:
        return None
    if values.ndim != 2 or values.shape[1] != len(COLUMNS) or values.dtype.kind not in "if":  # noqa: PLR2004 - rows and columns
        return None
    return values.astype(np.float64, copy=False) if np.isfinite(values).all() else None
