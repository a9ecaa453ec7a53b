"""Errors of Azure and its SDK: repeat a call after a transient error, else explain the error in a few lines."""

import contextlib
import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import requests
from azure.core.exceptions import AzureError
from azureml.exceptions import AzureMLException
from msrest.exceptions import ClientException

from lib.errors import ReleaseError

T = TypeVar("T")
SDK_ERRORS = (AzureMLException, ClientException, AzureError, requests.RequestException)
TRIES = 5
RETRY_LIMIT_S = 20.0  # the SDK itself tries most reads four times, which takes eleven seconds
LONGEST_WAIT_S = 30.0
DISCONNECTED = -1
TRANSIENT = {DISCONNECTED, 408, 429, 500, 502, 503, 504}
ADVICE = {
    "AADSTS7000215": "the client secret is wrong\nPut the secret's value, not its id, into AZURE_CLIENT_SECRET in .env",
    "AADSTS7000222": "the client secret has expired\nMake a new one, and put it into AZURE_CLIENT_SECRET in .env",
    "AADSTS700016": "AZURE_CLIENT_ID is unknown in this tenant\nCompare both with the app's registration",
    "authority configuration": "AZURE_TENANT_ID is no tenant\nCompare it with the directory id in the Azure portal",
    "AADSTS700082": "the login has expired\nRun `az login` again",
    "don't have access to": "the subscription is not one of yours\nCompare its id with `az account list`",
    "az login": "the Azure CLI has no valid login\nRun `az login`",
    "AuthorizationFailed": "the permission is missing\nThe owner of the resource group can grant the role Contributor",
    "Forbidden": "the permission is missing\nThe owner of the resource group can grant the role Contributor",
    "ExpiredAuthenticationToken": "the login has expired\nRun it again; with the Azure CLI, `az login` first",
    "InvalidAuthenticationToken": "the login is not accepted\nRun `invoke doctor`, which checks it",
}


def retrying(doing: str, call: Callable[[], T]) -> T:
    """Make a call that is safe to repeat, and repeat it after a transient error. Raises ReleaseError."""
    until = time.monotonic() + RETRY_LIMIT_S
    for attempt in range(TRIES):
        try:
            return call()
        except SDK_ERRORS as error:
            if status(error) not in TRANSIENT or attempt == TRIES - 1 or time.monotonic() > until:
                raise ReleaseError(explain(doing, error)) from error
            time.sleep(_pause_s(error, 2.0**attempt))
    raise AssertionError


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
    """Return Azure's answer in a few lines, with advice if the error is a well-known one."""
    text = "\n".join(map(_message, _causes(error)))
    for sign, advice in ADVICE.items():
        if sign in text:
            return f"{doing}: {advice}"
    if (code := status(error)) in TRANSIENT:
        return f"{doing}: Azure {'cannot be reached' if code == DISCONNECTED else f'answers {code}'}\nTry again later"
    return f"{doing}: {_summary(text)}"


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
        if isinstance(cause, requests.ConnectionError | requests.Timeout | ConnectionError):
            return DISCONNECTED
    return 0


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    ids: set[int] = set()
    while error is not None and id(error) not in ids:
        ids.add(id(error))
        yield error
        inner = getattr(error, "inner_exception", None)
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__


def _message(error: BaseException) -> str:
    """Return an error's message. For some of the SDK's errors, str() is empty."""
    message = getattr(error, "message", None)
    return message if isinstance(message, str) else str(error)


def _pause_s(error: BaseException, default_s: float) -> float:
    """Return how long to wait before the next attempt: what Azure asks for, or `default_s`."""
    for cause in _causes(error):
        headers: Any = getattr(getattr(cause, "response", None), "headers", None) or {}
        match = re.search(r"Retry-After'?: '?(\d+)", _message(cause))
        wait = headers.get("Retry-After") or (match and match[1])
        if wait and str(wait).isdigit():
            return min(float(wait), LONGEST_WAIT_S)
    return min(default_s, LONGEST_WAIT_S)


def _summary(text: str) -> str:
    """Return the message inside Azure's answer, or the answer's first lines."""
    matches = re.findall(r"[\"']?[mM]essage[\"']?: *(?:[\"']((?:[^\"'\\]|\\.)+)[\"']|([^\n{]+))", text)
    messages = [(quoted or plain).strip() for quoted, plain in matches]
    lines = [line.strip() for line in (messages or text.splitlines()) if line.strip()]
    return "\n".join(dict.fromkeys(lines[:2]))[:600]
