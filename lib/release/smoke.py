"""Test a deployed service over HTTP: its version, its predictions, its keys, and its answers to bad input."""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lib.errors import UnhealthyError
from lib.forms import Form
from lib.webservice import DEFAULT, Client, Identity, identity_mismatch

REQUESTS = 100
Check = tuple[str, Callable[[], str]]


def checks(
    uri: str,
    keys: tuple[str, str],
    identity: Identity,
    rows: list[Any],
    predictions: list[Any],
    form: Form = DEFAULT,
    refused: Sequence[str] | None = None,
    columns: list[dict[str, Any]] | None = None,
) -> Iterator[Check]:
    """Yield the checks, each with its name. A check returns what is wrong, or an empty string.

    `refused` names the bad bodies that the service must refuse: those that its rehearsal refused, or all if None.
    `columns` are those of the signature.
    """
    client, wrong_key, one_row = Client(uri, keys[0]), keys[0][::-1] + "x", form.body(rows[:1])
    yield "answers as the deployed version", lambda: identity_mismatch(uri, keys[0], identity)
    yield f"predicts {len(rows)} rows as the registered model", lambda: client.mismatch(rows, predictions, form)
    yield "accepts the second key", lambda: Client(uri, keys[1]).mismatch(rows[:1], predictions[:1], form)
    yield (
        "refuses a request without a key",
        lambda: _unexpected(Client(uri, None), one_row, range(401, 402)),
    )
    yield "refuses a wrong key", lambda: _unexpected(Client(uri, wrong_key), one_row, range(401, 402))
    for name, body in form.bad_bodies(rows, columns):
        if refused is not None and name not in refused:
            continue
        yield f"refuses {name}", functools.partial(_unexpected, client, body, range(400, 500))


def latencies_ms(uri: str, key: str, rows: list[Any], form: Form = DEFAULT) -> list[float]:
    """Return the milliseconds that each of REQUESTS one-row requests took, one after the other.

    Raises UnhealthyError if a request is not answered with status 200.
    """
    client = Client(uri, key)
    latencies = []
    for number in range(REQUESTS):
        body = form.body([rows[number % len(rows)]])
        begin = time.perf_counter()
        if fault := _unexpected(client, body, range(200, 201)):
            raise UnhealthyError(f"request {number + 1} of {REQUESTS} in a row failed: {fault}")
        latencies.append((time.perf_counter() - begin) * 1000)
    return latencies


def _unexpected(client: Client, body: bytes, allowed: range) -> str:
    """Post a body; return its answer if the status is not allowed, else an empty string."""
    try:
        answer = client.ask(body)
    except OSError as error:
        return f"no answer: {error}"
    if answer.status in allowed:
        return ""
    return f"status {answer.status}: {answer.content[:200].decode(errors='replace')}"
