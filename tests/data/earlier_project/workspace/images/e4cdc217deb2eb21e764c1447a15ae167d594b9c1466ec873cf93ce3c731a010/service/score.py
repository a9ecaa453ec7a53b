"""Score rows with the model, under Azure's inference server or at home: `python service/score.py ROWS.json MODEL`."""

import math
import os
import sys
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
identity: dict[str, str] = {}


class BadInputError(ValueError):
    """The request cannot be scored; the message says what is wrong and where."""


def init() -> None:
    """Load the model from AZUREML_MODEL_DIR, and learn from the environment which one it is."""
    global model, identity  # noqa: PLW0603 - Azure's server keeps the state of a script in its module
    folder = Path(os.environ["AZUREML_MODEL_DIR"])
    model = joblib.load(next(folder.rglob("model.joblib")))
    names = {"X-Model": "MODEL_NAME", "X-Model-Version": "MODEL_VERSION", "X-Image": "IMAGE_DIGEST"}
    identity = {header: os.environ.get(name, "unknown") for header, name in names.items()}


@rawhttp  # type: ignore[untyped-decorator]  # Azure's server ships no types
def run(request: AMLRequest) -> AMLResponse:
    """Answer `{"data": rows}` with `{"result": predictions}`, and what cannot be scored with 4xx."""
    if request.method != "POST":
        return answer({"message": "POST rows to this address"}, 405)
    try:
        rows = read_rows(request.get_data())
    except BadInputError as error:
        return answer({"message": str(error)}, 400)
    return answer({"result": model.predict(rows)}, 200)


def answer(body: dict[str, Any], status: int) -> AMLResponse:
    """Build a response that names the model and the image that gave it."""
    content = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    return AMLResponse(content, status, identity | {"Content-Type": "application/json"})


def read_rows(body: bytes) -> NDArray[np.float64]:
    """Read rows of 10 finite numbers each, shape (rows, 10).

    A row is a list in the order of COLUMNS or an object with their names.
    Raises BadInputError with the place of the first fault.
    """
    try:
        rows = orjson.loads(body)["data"]
    except orjson.JSONDecodeError as error:
        raise BadInputError(f"the body is not JSON: {error}") from None
    except (TypeError, KeyError):
        raise BadInputError('the body must be an object with "data"') from None
    if not isinstance(rows, list) or not rows:
        raise BadInputError('"data" must be a list with at least one row')
    named = any(isinstance(row, dict) for row in rows)
    values = [ordered(row, place) for place, row in enumerate(rows)] if named else rows
    return check(values, doubtful=b"true" in body or b"false" in body)


def ordered(row: Any, place: int) -> list[Any]:
    """Put a row with names into the order of COLUMNS."""
    if not isinstance(row, dict):
        raise BadInputError(f"row {place} must have names, as other rows do")
    for name in row.keys() ^ set(COLUMNS):
        raise BadInputError(f"row {place} has {'an unknown' if name in row else 'no'} column {name!r}")
    return [row[name] for name in COLUMNS]


def check(rows: list[Any], doubtful: bool) -> NDArray[np.float64]:
    """Turn rows into an array, and go through them cell by cell only to name a fault, or to find truth values.

    NumPy takes those for numbers, so rows that may have some are `doubtful`.
    """
    values = array_of(rows)
    if values is not None and not doubtful:
        return values
    for place, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(COLUMNS):
            raise BadInputError(f"row {place} must be a list of {len(COLUMNS)} numbers")
        for name, value in zip(COLUMNS, row, strict=True):
            if type(value) not in (int, float) or not math.isfinite(value):
                raise BadInputError(
                    f"row {place}, column {name!r} must be a finite number, not {orjson.dumps(value).decode()}"
                )
    if values is None:
        raise BadInputError('"data" holds a number that is too large')
    return values


def array_of(rows: list[Any]) -> NDArray[np.float64] | None:
    """Turn rows into an array, or None where it is not one of finite numbers in as many columns as there are."""
    try:
        values = np.array(rows)
    except ValueError:
        return None
    if values.ndim != 2 or values.shape[1] != len(COLUMNS) or values.dtype.kind not in "if":  # noqa: PLR2004 - rows and columns
        return None
    return values.astype(np.float64, copy=False) if np.isfinite(values).all() else None


if __name__ == "__main__":
    model = joblib.load(sys.argv[2] if len(sys.argv) > 2 else "outputs/model.joblib")  # noqa: PLR2004 - optional
    print(model.predict(read_rows(Path(sys.argv[1]).read_bytes())).tolist())
