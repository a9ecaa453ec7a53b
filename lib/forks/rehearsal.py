"""Rehearse an image before it is built: init() and some requests, by the application that its server runs."""

import faulthandler
import json
import runpy
import sys
from pathlib import Path
from typing import Any

LIMIT_S = 60.0  # for init(), and for each request


class ScoringError(Exception):
    """score.py does not answer a row of the hold-out as it should."""


class Rehearsal:
    """The application of the image in a folder, which answers in this process. It ends the process if it hangs."""

    def __init__(self, folder: str, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._error: BaseException | None = None
        sys.dont_write_bytecode = True  # compiled files would get into the image
        faulthandler.dump_traceback_later(limit_s, exit=True, file=2)
        application = runpy.run_path(str(Path(folder) / "serve.py"))["load"]()
        self._record_errors()
        from werkzeug.test import Client

        self._client = Client(application)
        faulthandler.cancel_dump_traceback_later()

    def _record_errors(self) -> None:
        """Keep the error that run() raises, because the answer of the server only says that there was one."""
        from azureml_inference_server_http.server import routes

        script = routes.main_blueprint.user_script
        invoke_run = script.invoke_run

        def invoke(*args: Any, **kwargs: Any) -> Any:
            try:
                return invoke_run(*args, **kwargs)
            except Exception as error:
                self._error = error
                raise

        script.invoke_run = invoke

    def ask(self, body: bytes) -> tuple[int, str]:
        """Post a body; return the status and the text of the answer. Raises the error of run(), if it raises one."""
        self._error = None
        faulthandler.dump_traceback_later(self._limit_s, exit=True, file=2)
        answer = self._client.post("/score", data=body, content_type="application/json")
        faulthandler.cancel_dump_traceback_later()
        if self._error and answer.status_code >= 500:  # noqa: PLR2004 - the server's own error
            raise self._error
        return answer.status_code, answer.get_data(as_text=True)


def rehearse(folder: str, row: list[Any]) -> Any:
    """Load the image's score.py and return its prediction for one row. Called in a fork.

    Raises ScoringError with the answer if it is not one prediction.
    """
    status, text = score(folder, json.dumps({"data": [row]}))
    if status != 200:  # noqa: PLR2004 - OK
        raise ScoringError(f"score.py answers {status} {text[:200]} to a row of the hold-out")
    answer = json.loads(text)
    result = answer.get("result") if isinstance(answer, dict) else None
    if not isinstance(result, list) or len(result) != 1:
        raise ScoringError(f'score.py must answer {{"result": [one prediction for each row]}}, not {text[:200]}')
    return result[0]


def score(folder: str, body: str) -> tuple[int, str]:
    """Return the status and the text of the answer of an image's score.py to a body. Called in a fork."""
    return Rehearsal(folder).ask(body.encode())
