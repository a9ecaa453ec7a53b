"""Try an image before it is called built: init() and one prediction, through the application that will serve it."""

import io
import json
import os
import runpy
from pathlib import Path
from typing import Any

KEY = "rehearsal-needs-no-secret-of-any-kind"


def rehearse(folder: str, row: list[Any]) -> Any:
    """Load the image's application and return its prediction for one row. Called in a fork of the interpreter.

    Raises RuntimeError with the answer where it is none.
    """
    os.environ |= {f"SCORING_KEY_{name}": KEY for name in ("PRIMARY", "SECONDARY")}
    serve = runpy.run_path(str(Path(folder) / "serve.py"))
    body = json.dumps({"data": [row]}).encode()
    status, content = post(serve["Server"]().load(), body)
    if not status.startswith("200"):
        raise RuntimeError(
            f"score.py answers {status} {content.decode(errors='replace')[:200]} to a row of the hold-out"
        )
    result = json.loads(content).get("result")
    if not isinstance(result, list) or len(result) != 1:
        raise RuntimeError(
            f'score.py must answer {{"result": [one prediction for each row]}}, not {content.decode()[:200]}'
        )
    return result[0]


def post(application: Any, body: bytes) -> tuple[str, bytes]:
    """Post a body to the application as its server would."""
    answered: list[str] = []
    request = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/score",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_AUTHORIZATION": f"Bearer {KEY}",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.version": (1, 0),
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    content = b"".join(application(request, lambda status, _headers, _error=None: answered.append(status)))
    return answered[0], content
