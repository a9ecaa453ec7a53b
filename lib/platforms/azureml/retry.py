"""Errors of Azure and its SDK: repeat a call after a transient error, else explain the error in a few lines."""

import contextlib
import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import requests
from azure.core.exceptions import AzureError, ServiceRequestError, ServiceResponseError
from azureml.exceptions import AzureMLException
from msrest.exceptions import ClientException

from lib.errors import ReleaseError
from lib.platforms.azureml import causes

T = TypeVar("T")
SDK_ERRORS = (AzureMLException, ClientException, AzureError, requests.RequestException)
# A name that cannot be resolved is a ConnectionError of requests, and may be a short fault too.
RESETS = (requests.ConnectionError, requests.Timeout, ConnectionError, ServiceRequestError, ServiceResponseError)
RETRY_LIMIT_S = 45.0  # since the first failure
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 2.0
LONGEST_WAIT_S = 30.0  # that Azure may ask for
DISCONNECTED = -1
CODES = {"TooManyRequests": 429, "InternalServerError": 500, "ServiceUnavailable": 503, "GatewayTimeout": 504}
CONFLICTS = (409, 412)  # somebody or something else holds it
IN_USE = ("InUse", "being used", "in use", "is used by")
TRANSIENT = {DISCONNECTED, 408, 429, 500, 502, 503, 504}


def retrying(doing: str, call: Callable[[], T]) -> T:
    """Make a call that is safe to repeat, and repeat it after a transient error. Raises ReleaseError.

    A call is safe to repeat if it only reads, if doing it twice is the same as once, or if it first looks whether a
    previous attempt, whose answer was lost, has succeeded.
    """
    until, pause = 0.0, FIRST_PAUSE_S
    while True:  # by time and not by number: one call of the SDK may be ten requests, of which each fails once
        try:
            return call()
        except SDK_ERRORS as error:
            until = until or time.monotonic() + RETRY_LIMIT_S
            if not is_transient(error) or time.monotonic() > until:
                raise ReleaseError(explain(doing, error)) from error
            time.sleep(pause_s(error, pause))
            pause = min(2 * pause, LONGEST_PAUSE_S)


def is_transient(error: BaseException) -> bool:
    """Return whether the same request may succeed a little later."""
    return status(error) in TRANSIENT


def is_in_use(error: BaseException) -> bool:
    """Return whether Azure refuses to delete something because something else uses it."""
    return status(error) in CONFLICTS and mentions(error, *IN_USE)


def retrying_quietly(doing: str, call: Callable[[], T]) -> T:
    """Make a call like `retrying`, and suppress what the SDK prints. Only for one thread at a time."""
    with translated(doing):
        return retrying(doing, call)


@contextlib.contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise the SDK's errors as a ReleaseError of one to three lines, and suppress what the SDK prints.

    Only for one thread at a time: redirecting the standard output affects all threads.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except SDK_ERRORS as error:
        raise ReleaseError(explain(doing, error)) from error


def limited(limit_s: float, doing: str, call: Callable[[], T], setting: str) -> T:
    """Make a call that waits without a limit. Raises ReleaseError with the setting's name after `limit_s`."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    # The SDK's call cannot be interrupted. Its thread is a daemon, so it does not keep the process alive.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit_s)
    if errors:
        raise errors[0]
    if not results:
        raise ReleaseError(f"{doing} took longer than {setting} = {limit_s:g} s")
    return results[0]


def explain(doing: str, error: BaseException) -> str:
    """Return Azure's answer in a few lines, with what to do if the cause is known."""
    text = "\n".join(map(_message, _causes(error)))
    if cause := causes.find(text):
        return f"{doing}: {cause}"
    if (code := status(error)) in TRANSIENT:
        return f"{doing}: Azure {'cannot be reached' if code == DISCONNECTED else f'answers {code}'}\nTry again later"
    return f"{doing}: {causes.summary(text)}"


def mentions(error: BaseException, *signs: str) -> bool:
    """Return whether the message of an error, or of one of its causes, contains one of these words."""
    return any(sign in _message(cause) for cause in _causes(error) for sign in signs)


def status(error: BaseException) -> int:
    """Return the HTTP status behind an error; DISCONNECTED for a broken connection, 0 for any other error."""
    for cause in _causes(error):
        response = getattr(cause, "response", None)
        if isinstance(code := getattr(response, "status_code", None), int):
            return code
        pattern = r"(?:Response Code|StatusCode|status code|Code|HTTP Error)[: '\"]+(\d{3})\b"
        if match := re.search(pattern, _message(cause)):
            return int(match[1])
        if isinstance(cause, RESETS):
            return DISCONNECTED
    # Errors of submitting a run have Azure's own code only.
    texts = [_message(cause) for cause in _causes(error)]
    return next((code for name, code in CODES.items() if any(name in text for text in texts)), 0)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    ids: set[int] = set()
    while error is not None and id(error) not in ids:
        ids.add(id(error))
        yield error
        inner = getattr(error, "inner_exception", None)
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__


def _message(error: BaseException) -> str:
    """Return an error's message and Azure's answer. For some of the SDK's errors, str() is empty."""
    message = getattr(error, "message", None)
    answer = getattr(getattr(error, "response", None), "text", None)
    return (message if isinstance(message, str) else str(error)) + (f"\n{answer}" if isinstance(answer, str) else "")


def pause_s(error: BaseException, default_s: float) -> float:
    """Return how long to wait before the next attempt: what Azure asks for, or `default_s`."""
    for cause in _causes(error):
        headers: Any = getattr(getattr(cause, "response", None), "headers", None) or {}
        match = re.search(r"Retry-After'?: '?(\d+)", _message(cause))
        wait = headers.get("Retry-After") or (match and match[1])
        if wait and str(wait).isdigit():
            return max(FIRST_PAUSE_S, min(float(wait), LONGEST_WAIT_S))  # Azure may ask for 0 again and again
    return min(default_s, LONGEST_WAIT_S)
