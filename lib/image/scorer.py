"""The scorer of a model whose owner writes no service/score.py: the image has this file in its place.

It loads the model by the owner's load() and predicts by the owner's predict(), or by their defaults. It checks rows by
the signature. Azure's own server runs it on this machine, in containers and on Azure.
"""

import importlib
import json
import os
from pathlib import Path
from typing import Any

from azureml_inference_server_http.api.aml_request import AMLRequest, rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse

SERVICE = Path(__file__).resolve().parent
MODEL_FOLDER = "model"

_state: dict[str, Any] = {}


def init() -> None:
    """Load the model from AZUREML_MODEL_DIR."""
    owner = importlib.import_module("release_scoring.owner").Owner(str(SERVICE / "_model"))
    signature = json.loads((SERVICE / "signature.json").read_bytes())["rows"]
    columns = signature["columns"] if signature["named"] else []
    _state.update(
        owner=owner,
        model=owner.load(str(_model(Path(os.environ["AZUREML_MODEL_DIR"])))),
        signature=signature,
        names=[column["name"] for column in columns],
        texts=[column["name"] for column in columns if column["type"] == "string"],
        body=importlib.import_module("release_scoring.body"),
        table=importlib.import_module("release_scoring.table"),
    )


@rawhttp  # type: ignore[untyped-decorator]  # Azure's server ships no types
def run(request: AMLRequest) -> AMLResponse:
    """Answer rows with `{"result": predictions}`, and rows that cannot be scored with 400 and the reason."""
    if request.method != "POST":
        return _answer({"message": "POST rows to this address"}, 405)
    body = _state["body"]
    try:
        rows = body.read_rows(request.get_data(), _state["signature"])
    except body.BadRequestError as error:
        return _answer({"message": str(error)}, 400)
    predictions = _state["owner"].predict(_state["model"], rows, _state["names"], _state["texts"])
    for number, prediction in enumerate(predictions):
        if not _state["table"].finite(prediction):  # JSON has no such number
            return _answer({"message": f"row {number}: the model predicts {prediction}, which is not finite"}, 500)
    return _answer({"result": predictions}, 200)


def _answer(body: dict[str, Any], status: int) -> AMLResponse:
    return AMLResponse(json.dumps(body).encode(), status, {"Content-Type": "application/json"})


def _model(folder: Path) -> Path:
    """Return the model's folder, or its only file. Azure puts them into a folder of the version."""
    folders = [path for path in folder.rglob(MODEL_FOLDER) if path.is_dir()]
    return next(iter(folders), None) or next(path for path in sorted(folder.rglob("*")) if path.is_file())
