"""Rehearse an image before it is built: init() and some requests, by the application that its server runs."""

import faulthandler
import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any, TypedDict

from lib import redaction
from lib.forms import Form, candidates, predictions_equal, response_of

OK = 200
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
        self.parameters = self._record_errors()
        from werkzeug.test import Client

        self._client = Client(application)
        faulthandler.cancel_dump_traceback_later()

    def _record_errors(self) -> list[str]:
        """Keep the error that run() raises, because the answer of the server only says that there was one.

        Return the names of the parameters that inference-schema takes from a request's body.
        """
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
        return [parameter.name for parameter in getattr(script.input_parser, "parameters", [])]

    def ask(self, body: bytes) -> tuple[int, str]:
        """Post a body; return the status and the text of the answer. Raises the error of run(), if it raises one."""
        self._error = None
        faulthandler.dump_traceback_later(self._limit_s, exit=True, file=2)
        answer = self._client.post("/score", data=body, content_type="application/json")
        faulthandler.cancel_dump_traceback_later()
        if self._error and answer.status_code >= 500:  # noqa: PLR2004 - the server's own error
            raise self._error
        return answer.status_code, answer.get_data(as_text=True)


class Rehearsed(TypedDict):
    """The form that score.py takes, rows in this form, its answers to them, and what is to be said about it."""

    request: str
    response: str
    rows: list[Any]
    predictions: list[Any]
    refused: list[str]
    warnings: list[str]


def rehearse(
    folder: str,
    rows: list[Any],
    names: list[str],
    predictions: list[Any],
    request: str = "",
    response: str = "",
    strict: bool = False,
    columns: list[dict[str, Any]] | None = None,
    env: dict[str, str] | None = None,
    secrets: dict[str, str] | None = None,
) -> Rehearsed:
    """Load the image's score.py and find the form of a request in which it scores rows. Called in a fork.

    Only forms of the settings are tried if they are not empty. Of several forms, the first that answers as predict()
    is used. Bad bodies are made by the signature's `columns`. `env` and `secrets` are a service's variables. Raises
    ScoringError, or the error of run(), if there is no form, and if `strict` also instead of a warning.
    """
    os.environ.update(env or {})
    redaction.receive(secrets or {})
    rehearsal = Rehearsal(folder)
    form, rows, answers = _find_form(rehearsal, rows, names, predictions, request, response)
    alone = _predictions(rehearsal, form, rows[:1])
    if alone is None:
        raise ScoringError(f"score.py scores {len(rows)} rows, but not one row: {form.request}")
    warnings = [
        f"service/score.py answers {_short(answer)} to row {index}, predict() {_short(prediction)}"
        for index, (answer, prediction) in enumerate(zip(answers, predictions, strict=True))
        if not predictions_equal(answer, prediction)
    ][:1]
    statuses = {name: _status(rehearsal, body) for name, body in form.bad_bodies(rows, columns)}
    refused = [name for name, status in statuses.items() if 400 <= status < 500]  # noqa: PLR2004 - HTTP's client errors
    if accepted := [f"{name} ({status})" for name, status in statuses.items() if name not in refused]:
        warnings.append(f"service/score.py does not refuse {', '.join(accepted)}: a status of 400 would help its users")
    if strict and warnings:
        raise ScoringError("; ".join(warnings).replace("service/score.py", "it"))
    return {
        "request": form.request,
        "response": form.response,
        "rows": rows,
        "predictions": answers,
        "refused": refused,
        "warnings": warnings,
    }


def score(
    folder: str, body: str, env: dict[str, str] | None = None, secrets: dict[str, str] | None = None
) -> tuple[int, str]:
    """Return the status and the text of the answer of an image's score.py to a body. Called in a fork."""
    os.environ.update(env or {})
    redaction.receive(secrets or {})
    return Rehearsal(folder).ask(body.encode())


def _find_form(
    rehearsal: Rehearsal, rows: list[Any], names: list[str], predictions: list[Any], request: str, response: str
) -> tuple[Form, list[Any], list[Any]]:
    """Return a form, the rows as it takes them, and the answers."""
    found, faults = None, []
    for attempt, kind in candidates(rows, names, request, rehearsal.parameters):
        try:
            status, text = rehearsal.ask(Form(attempt).body(kind))
        except Exception as error:
            faults.append(error)
            continue
        answered = response or response_of(_json(text), len(rows))
        form = Form(attempt, answered) if answered else None
        answers = form.predictions(_json(text)) if form and status == OK else None
        if form is None or answers is None or len(answers) != len(rows):
            faults.append(ScoringError(f"score.py answers {status} {text[:200]} to {attempt}"))
            continue
        if predictions_equal(answers, predictions):
            return form, kind, answers
        found = found or (form, kind, answers)
    if found:
        return found
    # A form that score.py does not take is often a KeyError; another error says more.
    raise next((fault for fault in faults if not isinstance(fault.__cause__ or fault, KeyError)), faults[0])


def _predictions(rehearsal: Rehearsal, form: Form, rows: list[Any]) -> list[Any] | None:
    status, text = rehearsal.ask(form.body(rows))
    answers = form.predictions(_json(text)) if status == OK else None
    return answers if answers is not None and len(answers) == len(rows) else None


def _status(rehearsal: Rehearsal, body: bytes) -> int:
    """Return the status of the answer to a body; 500 if run() raises an error."""
    try:
        return rehearsal.ask(body)[0]
    except Exception:
        return 500


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _short(value: Any) -> str:
    return str(value)[:80]
