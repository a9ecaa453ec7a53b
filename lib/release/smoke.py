"""Test a deployed service over HTTP: its version, its predictions, its keys, and its answers to bad input."""

import functools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from lib.errors import UnhealthyError
from lib.webservice import Client, Identity, identity_mismatch

REQUESTS = 100
Check = tuple[str, Callable[[], str]]


def checks(
    uri: str, keys: tuple[str, str], identity: Identity, rows: list[Any], predictions: list[Any]
) -> Iterator[Check]:
    """Yield the checks, each with its name. A check returns what is wrong, or an empty string."""
    client, wrong_key = Client(uri, keys[0]), keys[0][::-1] + "x"
    yield "answers as the deployed version", lambda: identity_mismatch(uri, keys[0], identity)
    yield f"predicts {len(rows)} rows as the registered model", lambda: client.mismatch(rows, predictions)
    yield "accepts the second key", lambda: Client(uri, keys[1]).mismatch(rows[:1], predictions[:1])
    yield "refuses a request without a key", lambda: _unexpected(Client(uri, None), _good_body(rows), range(401, 402))
    yield "refuses a wrong key", lambda: _unexpected(Client(uri, wrong_key), _good_body(rows), range(401, 402))
    for name, body in _bad_bodies(rows):
        yield f"refuses {name}", functools.partial(_unexpected, client, body, range(400, 500))


def latencies_ms(uri: str, key: str, rows: list[Any]) -> list[float]:
    """Return the milliseconds that each of REQUESTS one-row requests took, one after the other.

    Raises UnhealthyError if a request is not answered with status 200.
    """
    client = Client(uri, key)
    latencies = []
    for number in range(REQUESTS):
        body = json.dumps({"data": [rows[number % len(rows)]]}).encode()
        begin = time.perf_counter()
        if fault := _unexpected(client, body, range(200, 201)):
            raise UnhealthyError(f"request {number + 1} of {REQUESTS} in a row failed: {fault}")
        latencies.append((time.perf_counter() - begin) * 1000)
    return latencies


def _good_body(rows: list[Any]) -> bytes:
    return json.dumps({"data": rows[:1]}).encode()


def _bad_bodies(rows: list[Any]) -> Iterator[tuple[str, bytes]]:
    """Yield bodies that a service must refuse, each with its description."""
    yield "a body that is not JSON", b"{"
    yield "a body without data", b'{"rows": []}'
    yield "a row that is too short", json.dumps({"data": [rows[0][:-1]]}).encode()
    # A text may be a valid value in a column of texts, a list is valid in no column.
    kind, value = ("a list for a value", []) if isinstance(rows[0][-1], str) else ("text", "text")
    yield f"a row with {kind}", json.dumps({"data": [[*rows[0][:-1], value]]}).encode()


def _unexpected(client: Client, body: bytes, allowed: range) -> str:
    """Post a body; return its answer if the status is not allowed, else an empty string."""
    try:
        answer = client.ask(body)
    except OSError as error:
        return f"no answer: {error}"
    if answer.status in allowed:
        return ""
    return f"status {answer.status}: {answer.content[:200].decode(errors='replace')}"
