"""The test of a deployed service finds what is wrong with it: real HTTP servers that do one thing wrong each."""

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from lib.errors import ReleaseError
from lib.forms import predictions_equal
from lib.release import smoke
from lib.webservice import identity
from tests.support.project import free_port

pytestmark = pytest.mark.quick

KEYS = ("first-key-" + "a" * 32, "second-key-" + "b" * 32)
IDENTITY = identity("diabetes", 2, "f" * 64)
ROWS = [[0.01 * place, -0.02 * place, 0.03] for place in range(1, 8)]
PREDICTIONS = [150.0 + 10 * place for place in range(1, 8)]


class Service:
    """A scoring service that does all as it should, for subclasses to spoil."""

    def headers(self) -> dict[str, str]:
        return dict(IDENTITY)

    def allows(self, given: str) -> bool:
        return given in [f"Bearer {key}" for key in KEYS]

    def predict(self, rows: list[Any]) -> list[Any]:
        return [PREDICTIONS[ROWS.index(row)] for row in rows]

    def fault(self, body: bytes) -> str:
        try:
            rows = json.loads(body)["data"]
            return "" if all(len(row) == 3 and all(isinstance(cell, float) for cell in row) for row in rows) else "row"
        except (ValueError, KeyError):
            return "not rows"

    def refused(self, fault: str) -> int:
        return 400

    def answer(self, authorization: str, body: bytes | None) -> tuple[int, Any]:
        if not self.allows(authorization):
            return 401, {"message": "send a key"}
        if body is None:
            return 405, {"message": "post rows"}
        if fault := self.fault(body):
            return self.refused(fault), {"message": fault}
        return 200, {"result": self.predict(json.loads(body)["data"])}


class Timed(Service):
    """Measures itself how long it takes for each answer, without the way to it and back."""

    def __init__(self) -> None:
        self.answered_in_ms: list[float] = []
        self.rows: list[Any] = []

    def answer(self, authorization: str, body: bytes | None) -> tuple[int, Any]:
        begin = time.perf_counter()
        answer = super().answer(authorization, body)
        self.rows += json.loads(body)["data"] if body else []
        self.answered_in_ms.append((time.perf_counter() - begin) * 1000)
        return answer


class InLists(Service):
    def predict(self, rows: list[Any]) -> list[Any]:
        return [[prediction] for prediction in super().predict(rows)]


class ErrorsAsSuccess(Service):
    def refused(self, fault: str) -> int:
        return 200


class ErrorsOfItsOwn(Service):
    def refused(self, fault: str) -> int:
        return 500


class OtherVersion(Service):
    def headers(self) -> dict[str, str]:
        return {**IDENTITY, "X-Model-Version": "1"}


class OtherImage(Service):
    def headers(self) -> dict[str, str]:
        return {**IDENTITY, "X-Image": "e" * 64}


class OtherModel(Service):
    def headers(self) -> dict[str, str]:
        return {**IDENTITY, "X-Model": "another"}


class NoHeaders(Service):
    def headers(self) -> dict[str, str]:
        return {}


class SlightlyOff(Service):
    """One prediction of all, the last, is off by a millionth."""

    def predict(self, rows: list[Any]) -> list[Any]:
        return [value + (1e-6 if value == PREDICTIONS[-1] else 0) for value in super().predict(rows)]


class OneTooFew(Service):
    def predict(self, rows: list[Any]) -> list[Any]:
        return super().predict(rows)[:-1]


class NotANumber(Service):
    def predict(self, rows: list[Any]) -> list[Any]:
        return [math.nan] * len(rows)


class Text(Service):
    def predict(self, rows: list[Any]) -> list[Any]:
        return [str(value) for value in super().predict(rows)]


class Swapped(Service):
    def predict(self, rows: list[Any]) -> list[Any]:
        return super().predict(rows)[::-1]


class NoKeyCheck(Service):
    def allows(self, given: str) -> bool:
        return True


class AnyKey(Service):
    def allows(self, given: str) -> bool:
        return bool(given)


class Forbids(Service):
    """Refuses as another part of a cluster would, which says nothing about the service's own keys."""

    def answer(self, authorization: str, body: bytes | None) -> tuple[int, Any]:
        status, answer = super().answer(authorization, body)
        return 403 if status == 401 else status, answer


class FirstKeyOnly(Service):
    def allows(self, given: str) -> bool:
        return given == f"Bearer {KEYS[0]}"


class IgnoresBadRows(Service):
    def fault(self, body: bytes) -> str:
        fault = super().fault(body)
        return "" if fault == "row" else fault

    def predict(self, rows: list[Any]) -> list[Any]:
        return [PREDICTIONS[ROWS.index(row)] if row in ROWS else 0.0 for row in rows]


class NoService(Service):
    """Says no to everything, as a gateway in front of nothing does."""

    def headers(self) -> dict[str, str]:
        return {}

    def answer(self, authorization: str, body: bytes | None) -> tuple[int, Any]:
        return 502, "bad gateway"


class HangsUp(Service):
    """Closes the connection without an answer."""

    def answer(self, authorization: str, body: bytes | None) -> tuple[int, Any]:
        raise ConnectionResetError


class EndsEarly(Service):
    """Answers everything that the checks ask, and not much more."""

    def __init__(self) -> None:
        self.left = 20

    def answer(self, authorization: str, body: bytes | None) -> tuple[int, Any]:
        self.left -= 1
        if self.left < 0:
            raise ConnectionResetError
        return super().answer(authorization, body)


class FailsEarly(EndsEarly):
    """As EndsEarly, with an error where that one ends."""

    def answer(self, authorization: str, body: bytes | None) -> tuple[int, Any]:
        try:
            return super().answer(authorization, body)
        except ConnectionResetError:
            return 500, {"message": "no more"}


class Handler(BaseHTTPRequestHandler):
    service: Service

    def do_GET(self) -> None:
        self.respond(None)

    def do_POST(self) -> None:
        self.respond(self.rfile.read(int(self.headers["Content-Length"])))

    def respond(self, body: bytes | None) -> None:
        try:
            status, answer = self.service.answer(self.headers.get("Authorization", ""), body)
        except ConnectionResetError:
            return
        self.send_response(status)
        for name, value in self.service.headers().items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, format: str, *values: Any) -> None:
        """Say nothing."""


@pytest.fixture
def serve() -> Iterator[Callable[[Service], str]]:
    servers = []

    def start(service: Service) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"service": service}))
        servers.append((server, threading.Thread(target=server.serve_forever, args=[0.01])))
        servers[-1][1].start()
        return f"http://127.0.0.1:{server.server_port}/score"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join(60)
        server.server_close()


def faults(uri: str) -> dict[str, str]:
    done = {name: check() for name, check in smoke.checks(uri, KEYS, IDENTITY, ROWS, PREDICTIONS)}
    assert len(done) == 9
    return {name: fault for name, fault in done.items() if fault}


VERSION = "answers as the deployed version"
ROWS_RIGHT = f"predicts {len(ROWS)} rows as the registered model"
SECOND = "accepts the second key"
NO_KEY, WRONG_KEY = "refuses a request without a key", "refuses a wrong key"
NOT_JSON, NO_DATA = "refuses a body that is not JSON", "refuses a body without data"
SHORT, WORDS = "refuses a row that is too short", "refuses a row with text"
BAD_INPUT = {NOT_JSON, NO_DATA, SHORT, WORDS}
ALL = {VERSION, ROWS_RIGHT, SECOND, NO_KEY, WRONG_KEY} | BAD_INPUT


def test_a_service_that_does_all_as_it_should_passes_every_check(serve: Callable[[Service], str]) -> None:
    assert faults(serve(Service())) == {}


@pytest.mark.parametrize(
    ("service", "failed"),
    [
        (ErrorsAsSuccess(), BAD_INPUT),
        (ErrorsOfItsOwn(), BAD_INPUT),
        (IgnoresBadRows(), {SHORT, WORDS}),
        (OtherVersion(), {VERSION}),
        (OtherImage(), {VERSION}),
        (OtherModel(), {VERSION}),
        (NoHeaders(), {VERSION}),
        (SlightlyOff(), {ROWS_RIGHT}),
        (OneTooFew(), {ROWS_RIGHT, SECOND}),
        (NotANumber(), {ROWS_RIGHT, SECOND}),
        (Text(), {ROWS_RIGHT, SECOND}),
        (InLists(), {ROWS_RIGHT, SECOND}),
        (Swapped(), {ROWS_RIGHT}),
        (NoKeyCheck(), {NO_KEY, WRONG_KEY}),
        (AnyKey(), {WRONG_KEY}),
        (Forbids(), {NO_KEY, WRONG_KEY}),
        (FirstKeyOnly(), {SECOND}),
        (NoService(), ALL),
        (HangsUp(), ALL),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Service) else "",
)
def test_a_service_that_does_one_thing_wrong_fails_the_checks_of_it(
    serve: Callable[[Service], str], service: Service, failed: set[str]
) -> None:
    assert faults(serve(service)).keys() == failed


def test_a_fault_says_which_row_and_both_numbers(serve: Callable[[Service], str]) -> None:
    fault = faults(serve(SlightlyOff()))[ROWS_RIGHT]
    assert fault == "row 6 gives 220.000001, the registered model 220.0"


def test_a_fault_says_which_header_and_both_values(serve: Callable[[Service], str]) -> None:
    assert faults(serve(OtherVersion()))[VERSION] == "its header X-Model-Version is 1, not 2"


def test_a_service_that_is_not_there_fails_every_check() -> None:
    found = faults(f"http://127.0.0.1:{free_port()}/score")
    assert found.keys() == ALL
    assert all("no answer" in fault for fault in found.values())


def test_latency_is_measured_on_answers(serve: Callable[[Service], str]) -> None:
    service = Timed()
    uri, begin = serve(service), time.perf_counter()
    latencies = smoke.latencies_ms(uri, KEYS[0], ROWS)
    elapsed_ms = (time.perf_counter() - begin) * 1000
    assert len(latencies) == len(service.answered_in_ms) == smoke.REQUESTS
    assert service.rows == [ROWS[number % len(ROWS)] for number in range(smoke.REQUESTS)]
    assert sum(service.answered_in_ms) < sum(latencies) < elapsed_ms
    assert all(answer < latency for answer, latency in zip(service.answered_in_ms, latencies, strict=True))


@pytest.mark.parametrize("service", [EndsEarly(), FailsEarly()], ids=lambda value: type(value).__name__)
def test_a_service_that_fails_while_its_latency_is_measured_is_a_release_error(
    serve: Callable[[Service], str], service: Service
) -> None:  # only a release error brings the last version back
    with pytest.raises(ReleaseError, match="request 21 of 100"):
        smoke.latencies_ms(serve(service), KEYS[0], ROWS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (220.0, 220.0000000001),
        (220, 220.0),
        (0.0, 1e-13),
        ("type-1", "type-1"),
        ([1.0, [2.0, "a"]], [1.0, [2.0, "a"]]),
        (None, None),
    ],
)
def test_predictions_are_the_same_within_nine_digits(one: Any, other: Any) -> None:
    assert predictions_equal(one, other)
    assert predictions_equal(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (220.0, 220.000001),
        (220.0, -220.0),
        ("type-1", "type-2"),
        ("220", 220),
        ([220.0], 220.0),
        ([1.0, 2.0], [1.0]),
        ([1.0, 2.0], [1.0, 3.0]),
        (None, 0.0),
    ],
)
def test_other_predictions_are_not_the_same(one: Any, other: Any) -> None:
    assert not predictions_equal(one, other)
    assert not predictions_equal(other, one)
