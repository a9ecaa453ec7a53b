"""Rehearse an image before it is built: init() and one prediction, by the code that runs score.py in Azure's server."""

import json
import os
import sys
from pathlib import Path
from typing import Any

LIMIT_MS = 60_000


def rehearse(folder: str, row: list[Any]) -> Any:
    """Load the image's score.py and return its prediction for one row. Called in a fork.

    Raises RuntimeError with the answer if it is not one prediction.
    """
    from azureml_inference_server_http.server.user_script import UserScript

    sys.dont_write_bytecode = True  # compiled files would get into the image
    service = Path(folder) / "service"
    os.environ["AZUREML_MODEL_DIR"] = str(Path(folder) / "model" / "1")
    sys.path.insert(0, str(service))
    script = UserScript("score.py")
    script.load_script(str(service))
    script.invoke_init()
    answer = _body(script.invoke_run(_request({"data": [row]}), timeout_ms=LIMIT_MS).output)
    result = answer.get("result") if isinstance(answer, dict) else None
    if not isinstance(result, list) or len(result) != 1:
        raise RuntimeError(f'score.py must answer {{"result": [one prediction for each row]}}, not {str(answer)[:200]}')
    return result[0]


def _request(body: dict[str, Any]) -> Any:
    """Return the request that score.py would get."""
    from flask import Request
    from werkzeug.test import EnvironBuilder

    return Request(EnvironBuilder("/score", method="POST", json=body).get_environ())


def _body(output: Any) -> Any:
    """Return what run() returned; if that is a response, its parsed body."""
    from azureml_inference_server_http.api.aml_response import AMLResponse

    if not isinstance(output, AMLResponse):
        return output
    content = output.get_data(as_text=True)
    if not output.status.startswith("200"):
        raise RuntimeError(f"score.py answers {output.status} {content[:200]} to a row of the hold-out")
    return json.loads(content)
