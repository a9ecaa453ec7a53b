"""Send requests to a web service, and compare its answers with the expected identity and predictions."""

import http.client
import json
import math
import urllib.parse
from typing import Any

TIMEOUT_S = 30.0
Identity = dict[str, str]  # the headers that say which model answers


class Answer:
    """A response: status, headers and body."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.content = response.read()

    @property
    def body(self) -> Any:
        """Return the body parsed as JSON, or its text if it is not JSON."""
        try:
            return json.loads(self.content)
        except ValueError:
            return self.content.decode(errors="replace")


class Client:
    """Sends requests to a scoring URI, with a key or without."""

    def __init__(self, scoring_uri: str, key: str | None) -> None:
        self.uri = urllib.parse.urlsplit(scoring_uri)
        self.key = key

    def ask(self, body: bytes | None = None, method: str = "POST") -> Answer:
        """Send a request on a new connection. Raises OSError if there is no answer."""
        kind = http.client.HTTPSConnection if self.uri.scheme == "https" else http.client.HTTPConnection
        connection = kind(self.uri.netloc, timeout=TIMEOUT_S)
        try:
            headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
            connection.request(method, self.uri.path, body, headers | {"Content-Type": "application/json"})
            return Answer(connection.getresponse())
        except http.client.HTTPException as error:
            raise ConnectionError(str(error) or type(error).__name__) from error  # callers expect OSError
        finally:
            connection.close()

    def mismatch(self, rows: list[Any], predictions: list[Any]) -> str:
        """Score rows, and return the first difference from the expected predictions, or an empty string."""
        try:
            answer = self.ask(json.dumps({"data": rows}).encode())
        except OSError as error:
            return f"no answer: {error}"
        result = answer.body.get("result") if isinstance(answer.body, dict) else None
        if answer.status != http.HTTPStatus.OK or not isinstance(result, list):
            return f"status {answer.status} and {answer.content[:200].decode(errors='replace')}"
        if len(result) != len(predictions):
            return f"{len(result)} predictions for {len(predictions)} rows"
        for index, (value, prediction) in enumerate(zip(result, predictions, strict=True)):
            if not predictions_equal(value, prediction):
                return f"row {index} gives {value}, the registered model {prediction}"
        return ""


def predictions_equal(value: Any, expected: Any) -> bool:
    """Compare predictions: numbers to nine digits, since the last ones depend on the processor; the rest exactly."""
    if isinstance(value, list) and isinstance(expected, list):
        return len(value) == len(expected) and all(map(predictions_equal, value, expected))
    if isinstance(value, float | int) and isinstance(expected, float | int):
        return math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-12)
    return bool(value == expected)


def identity(model: str, version: int, image: str) -> Identity:
    """Return the headers with which a service identifies the model that answers."""
    return {"X-Model": model, "X-Model-Version": str(version), "X-Image": image}


def identity_mismatch(scoring_uri: str, key: str, identity: Identity) -> str:
    """Return the first header that differs, or why there is no answer; an empty string if all headers are right."""
    try:
        answer = Client(scoring_uri, key).ask(method="GET")
    except OSError as error:
        return f"no answer from {scoring_uri} ({error})"
    if answer.status == http.HTTPStatus.UNAUTHORIZED:
        return "it does not accept the key"
    wrong = [
        f"its header {name} is {answer.headers.get(name)}, not {value}"
        for name, value in identity.items()
        if answer.headers.get(name) != value
    ]
    return next(iter(wrong), "")


def deployment_mismatch(scoring_uri: str, key: str, identity: Identity, rows: list[Any], predictions: list[Any]) -> str:
    """Return the first difference of a service from the deployed version, in its identity or its predictions."""
    trouble = identity_mismatch(scoring_uri, key, identity)
    return trouble or (Client(scoring_uri, key).mismatch(rows, predictions) if rows else "")
