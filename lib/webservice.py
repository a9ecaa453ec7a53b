"""Ask a web service over HTTP, and compare what it answers with what it should."""

import http.client
import json
import math
import urllib.parse
from typing import Any

TIMEOUT_S = 30.0
Identity = dict[str, str]


class Answer:
    """A response: status, headers, and the body parsed where it is JSON."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.content = response.read()

    @property
    def body(self) -> Any:
        """Return the parsed body, or its text."""
        try:
            return json.loads(self.content)
        except ValueError:
            return self.content.decode(errors="replace")


class Client:
    """Sends requests to a scoring URI with a key, or without one."""

    def __init__(self, scoring_uri: str, key: str | None) -> None:
        self.uri = urllib.parse.urlsplit(scoring_uri)
        self.key = key

    def ask(self, body: bytes | None = None, method: str = "POST") -> Answer:
        """Send one request. Raises OSError where no answer comes."""
        kind = http.client.HTTPSConnection if self.uri.scheme == "https" else http.client.HTTPConnection
        connection = kind(self.uri.netloc, timeout=TIMEOUT_S)
        try:
            headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
            connection.request(method, self.uri.path, body, headers | {"Content-Type": "application/json"})
            return Answer(connection.getresponse())
        except http.client.HTTPException as error:
            raise ConnectionError(str(error) or type(error).__name__) from error
        finally:
            connection.close()

    def mismatch(self, rows: list[Any], predictions: list[Any]) -> str:
        """Score rows and tell the first answer that is not the prediction; an empty string where all are."""
        try:
            answer = self.ask(json.dumps({"data": rows}).encode())
        except OSError as error:
            return f"no answer: {error}"
        result = answer.body.get("result") if isinstance(answer.body, dict) else None
        if answer.status != http.HTTPStatus.OK or not isinstance(result, list):
            return f"status {answer.status} and {answer.content[:200].decode(errors='replace')}"
        if len(result) != len(predictions):
            return f"{len(result)} predictions for {len(predictions)} rows"
        for place, (given, expected) in enumerate(zip(result, predictions, strict=True)):
            if not same(given, expected):
                return f"row {place} gives {given}, the registered model {expected}"
        return ""


def same(given: Any, expected: Any) -> bool:
    """Compare two predictions: numbers to nine digits, all else exactly, lists one by one."""
    if isinstance(given, list) and isinstance(expected, list):
        return len(given) == len(expected) and all(map(same, given, expected))
    if isinstance(given, float | int) and isinstance(expected, float | int):
        return math.isclose(given, expected, rel_tol=1e-9, abs_tol=1e-12)
    return bool(given == expected)


def identity(model: str, version: int, image: str) -> Identity:
    """Return the headers by which a service says who it is."""
    return {"X-Model": model, "X-Model-Version": str(version), "X-Image": image}


def differing(scoring_uri: str, key: str, expected: Identity) -> str:
    """Tell in what a service is not the expected one, or why it does not answer; an empty string where it is."""
    try:
        answer = Client(scoring_uri, key).ask(method="GET")
    except OSError as error:
        return f"no answer from {scoring_uri} ({error})"
    if answer.status == http.HTTPStatus.UNAUTHORIZED:
        return "it does not accept the key"
    wrong = [
        f"its header {name} is {answer.headers.get(name)}, not {value}"
        for name, value in expected.items()
        if answer.headers.get(name) != value
    ]
    return next(iter(wrong), "")


def unlike_deployed(scoring_uri: str, key: str, expected: Identity, rows: list[Any], predictions: list[Any]) -> str:
    """Tell in what a service is not the deployed version: who answers, then what it predicts; empty where it is."""
    trouble = differing(scoring_uri, key, expected)
    return trouble or (Client(scoring_uri, key).mismatch(rows, predictions) if rows else "")
