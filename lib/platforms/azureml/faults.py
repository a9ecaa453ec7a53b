"""What goes wrong with Azure: asked again where that is safe and may help, else told in a few words."""

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
ENOUGH_S = 20.0  # the SDK itself tries most reads four times, which takes eleven seconds
LONGEST_WAIT_S = 30.0
BROKEN = -1
TRANSIENT = {BROKEN, 408, 429, 500, 502, 503, 504}
ADVICE = {
    "AADSTS7000215": "the client secret is wrong\nPut the secret's value, not its id, into AZURE_CLIENT_SECRET in .env",
    "AADSTS7000222": "the client secret has expired\nMake a new one, and put it into AZURE_CLIENT_SECRET in .env",
    "AADSTS700016": "AZURE_CLIENT_ID is unknown in this tenant\nCompare both with the app's registration",
    "authority configuration": "AZURE_TENANT_ID is no tenant\nCompare it with the directory id in the Azure portal",
    "AADSTS700082": "the login has expired\nRun `az login` again",
    "don't have access to": "the subscription is not one of yours\nCompare its id with `az account list`",
    "az login": "the Azure CLI has no valid login\nRun `az login`",
    "AuthorizationFailed": "the permission is missing\nWhoever owns the resource group can give the role Contributor",
    "Forbidden": "the permission is missing\nWhoever owns the resource group can give the role Contributor",
    "ExpiredAuthenticationToken": "the login has expired\nRun it again; with the Azure CLI, `az login` first",
    "InvalidAuthenticationToken": "the login is not accepted\nRun `invoke setup`, which checks it",
}


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those behind it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = getattr(error, "inner_exception", None)
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__


def words(error: BaseException) -> str:
    """Return an error's message; some of the SDK's errors cannot say theirs by str()."""
    message = getattr(error, "message", None)
    return message if isinstance(message, str) else str(error)


def mentions(error: BaseException, *signs: str) -> bool:
    """Tell whether an error, or one behind it, has one of these words in its message."""
    return any(sign in words(one) for one in chain(error) for sign in signs)


def status(error: BaseException) -> int:
    """Return the HTTP status behind an error, BROKEN for a broken connection, 0 where there is none."""
    for one in chain(error):
        response = getattr(one, "response", None)
        if isinstance(code := getattr(response, "status_code", None), int):
            return code
        if found := re.search(r"(?:Response Code|StatusCode|status code|Code|HTTP Error)[: '\"]+(\d{3})\b", words(one)):
            return int(found[1])
        if isinstance(one, requests.ConnectionError | requests.Timeout | ConnectionError):
            return BROKEN
    return 0


def retry_after_s(error: BaseException, otherwise: float) -> float:
    """Return the seconds that Azure asks to wait before the next try."""
    for one in chain(error):
        headers: Any = getattr(getattr(one, "response", None), "headers", None) or {}
        named = re.search(r"Retry-After'?: '?(\d+)", words(one))
        given = headers.get("Retry-After") or (named and named[1])
        if given and str(given).isdigit():
            return min(float(given), LONGEST_WAIT_S)
    return min(otherwise, LONGEST_WAIT_S)


def patiently(doing: str, call: Callable[[], T]) -> T:
    """Call what is safe to repeat, again where the fault may pass. Raises ReleaseError."""
    until = time.monotonic() + ENOUGH_S
    for attempt in range(TRIES):
        try:
            return call()
        except SDK_ERRORS as error:
            if status(error) not in TRANSIENT or attempt == TRIES - 1 or time.monotonic() > until:
                raise ReleaseError(told(doing, error)) from error
            time.sleep(retry_after_s(error, 2.0**attempt))
    raise AssertionError


@contextlib.contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn the SDK's errors into a ReleaseError of a few lines, and keep to ourselves what it prints.

    For what changes something, one at a time: the standard output is one for all threads.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except SDK_ERRORS as error:
        raise ReleaseError(told(doing, error)) from error


def told(doing: str, error: BaseException) -> str:
    """Say what Azure answered, and what to do where that is known."""
    text = "\n".join(words(one) for one in chain(error))
    for sign, advice in ADVICE.items():
        if sign in text:
            return f"{doing}: {advice}"
    if (code := status(error)) in TRANSIENT:
        return f"{doing}: Azure {'cannot be reached' if code == BROKEN else f'answers {code}'}\nTry again later"
    return f"{doing}: {essence(text)}"


def essence(text: str) -> str:
    """Return the message in an answer of Azure's, or its first lines."""
    found = re.findall(r"[\"']?[mM]essage[\"']?: *(?:[\"']((?:[^\"'\\]|\\.)+)[\"']|([^\n{]+))", text)
    messages = [(quoted or plain).strip() for quoted, plain in found]
    lines = [line.strip() for line in (messages or text.splitlines()) if line.strip()]
    return "\n".join(dict.fromkeys(lines[:2]))[:600]


def within(limit_s: float, doing: str, call: Callable[[], T], setting: str) -> T:
    """Call what waits without a limit of its own. Raises ReleaseError when the limit has passed."""
    outcome: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(call())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit_s)
    if raised:
        raise raised[0]
    if not outcome:
        raise ReleaseError(f"{doing} took longer than {setting} = {limit_s:g} s")
    return outcome[0]
