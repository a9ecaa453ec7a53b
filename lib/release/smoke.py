"""Test a deployed service over HTTP: its predictions, its version, its keys, and how it takes bad input."""

import functools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from lib.errors import UnhealthyError
from lib.webservice import Client, Identity, differing

REQUESTS = 100
Check = tuple[str, Callable[[], str]]


def checks(
    uri: str, keys: tuple[str, str], identity: Identity, rows: list[Any], predictions: list[Any]
) -> Iterator[Check]:
    """Yield the checks by name; each returns what is wrong, or an empty string."""
    client = Client(uri, keys[0])
    yield "answers as the deployed version", lambda: differing(uri, keys[0], identity)
    yield f"predicts {len(rows)} rows as the registered model", lambda: client.mismatch(rows, predictions)
    yield "accepts the second key", lambda: Client(uri, keys[1]).mismatch(rows[:1], predictions[:1])
    yield "refuses a request without a key", lambda: unlike(Client(uri, None), good(rows), range(401, 402))
    yield "refuses a wrong key", lambda: unlike(Client(uri, keys[0][::-1] + "x"), good(rows), range(401, 402))
    for name, body in bad(rows):
        yield f"refuses {name}", functools.partial(unlike, client, body, range(400, 500))


def good(rows: list[Any]) -> bytes:
    """Return a body of one right row."""
    return json.dumps({"data": rows[:1]}).encode()


def bad(rows: list[Any]) -> Iterator[tuple[str, bytes]]:
    """Yield bodies that must be refused."""
    yield "a body that is not JSON", b"{"
    yield "a body without data", b'{"rows": []}'
    yield "a row that is too short", json.dumps({"data": [rows[0][:-1]]}).encode()
    kind, wrong = ("a list for a value", []) if isinstance(rows[0][-1], str) else ("text", "text")
    yield f"a row with {kind}", json.dumps({"data": [[*rows[0][:-1], wrong]]}).encode()


def unlike(client: Client, body: bytes, allowed: range) -> str:
    """Tell the status of an answer that is not among the allowed ones."""
    try:
        answer = client.ask(body)
    except OSError as error:
        return f"no answer: {error}"
    return (
        "" if answer.status in allowed else f"status {answer.status}: {answer.content[:200].decode(errors='replace')}"
    )


def latencies_ms(uri: str, key: str, rows: list[Any]) -> list[float]:
    """Return how long each of REQUESTS one-row requests took, one after the other, in milliseconds.

    Raises UnhealthyError where one of them is not answered with predictions.
    """
    client = Client(uri, key)
    times = []
    for place in range(REQUESTS):
        body = json.dumps({"data": [rows[place % len(rows)]]}).encode()
        begin = time.perf_counter()
        if fault := unlike(client, body, range(200, 201)):
            raise UnhealthyError(f"request {place + 1} of {REQUESTS} in a row failed: {fault}")
        times.append((time.perf_counter() - begin) * 1000)
    return times
