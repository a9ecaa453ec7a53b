"""Send requests to a web service, and compare its answers with the expected identity and predictions."""

import contextlib
import http
import http.client
import ipaddress
import json
import os
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.forms import Form, predictions_equal

if TYPE_CHECKING:
    import urllib3

TIMEOUT_S = 30.0
DEFAULT = Form()
Identity = dict[str, str]  # the headers that say which model answers


class Answer:
    """A response: status, headers and body."""

    def __init__(self, status: int, headers: Mapping[str, str] | http.client.HTTPMessage, content: bytes) -> None:
        self.status = status
        self.headers = headers
        self.content = content

    @property
    def body(self) -> Any:
        """Return the body parsed as JSON, or its text if it is not JSON."""
        try:
            return json.loads(self.content)
        except ValueError:
            return self.content.decode(errors="replace")


class Client:
    """Sends requests to a scoring URI, with a key or without, through the proxy that the environment names."""

    def __init__(self, scoring_uri: str, key: str | None) -> None:
        self.uri = scoring_uri
        # A kept connection would reach the same replica again, also after an update.
        self.headers = {"Content-Type": "application/json", "Connection": "close"}
        if key:
            self.headers["Authorization"] = f"Bearer {key}"

    def ask(self, body: bytes | None = None, method: str = "POST") -> Answer:
        """Send a request on a new connection. Raises OSError if there is no answer."""
        url = urllib.parse.urlsplit(self.uri)
        if url.scheme == "http" and _is_loopback(url.hostname or ""):
            return self._ask_directly(url, body, method)
        import urllib3

        try:
            pool = _pool(self.uri)
            response = pool.request(method, self.uri, body=body, headers=self.headers, redirect=False)
            return Answer(response.status, response.headers, response.data)
        except urllib3.exceptions.HTTPError as error:
            cause = error.__cause__ or error.__context__
            raise ConnectionError(str(cause if isinstance(cause, OSError) else error)) from error

    def _ask_directly(self, url: urllib.parse.SplitResult, body: bytes | None, method: str) -> Answer:
        """Send a request to this machine, without what only proxies and certificates need: it is imported slowly."""
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=TIMEOUT_S)
        with contextlib.closing(connection):
            try:
                connection.request(method, url.path or "/", body, self.headers)
                response = connection.getresponse()
                return Answer(response.status, response.headers, response.read())
            except http.client.HTTPException as error:
                raise ConnectionError(f"{type(error).__name__}: {error}") from error

    def mismatch(self, rows: list[Any], predictions: list[Any], form: Form = DEFAULT) -> str:
        """Score rows, and return the first difference from the expected predictions, or an empty string."""
        try:
            answer = self.ask(form.body(rows))
        except OSError as error:
            return f"no answer: {error}"
        result = form.predictions(answer.body)
        if answer.status != http.HTTPStatus.OK or result is None:
            return f"status {answer.status} and {answer.content[:200].decode(errors='replace')}"
        if len(result) != len(predictions):
            return f"{len(result)} predictions for {len(predictions)} rows"
        for index, (value, prediction) in enumerate(zip(result, predictions, strict=True)):
            if not predictions_equal(value, prediction):
                return f"row {index} gives {value}, the registered model {prediction}"
        return ""


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


def deployment_mismatch(
    scoring_uri: str, key: str, identity: Identity, rows: list[Any], predictions: list[Any], form: Form = DEFAULT
) -> str:
    """Return the first difference of a service from the deployed version, in its identity or its predictions."""
    trouble = identity_mismatch(scoring_uri, key, identity)
    return trouble or (Client(scoring_uri, key).mismatch(rows, predictions, form) if rows else "")


def _pool(uri: str) -> "urllib3.PoolManager":
    """Return the connections to an address: direct or through a proxy, with the environment's certificates."""
    import urllib3  # here, because it takes longer to import than most tasks run

    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")  # OpenSSL reads SSL_CERT_FILE
    certificates = {"ca_cert_dir" if Path(bundle).is_dir() else "ca_certs": bundle} if bundle else {}
    options: dict[str, Any] = {"timeout": TIMEOUT_S, "retries": False, **certificates}
    proxy = _proxy(uri)
    if not proxy:
        return urllib3.PoolManager(**options)
    login = urllib3.util.parse_url(proxy).auth
    headers = urllib3.make_headers(proxy_basic_auth=urllib.parse.unquote(login)) if login else None
    return urllib3.ProxyManager(proxy, proxy_headers=headers, **options)


def _proxy(uri: str) -> str:
    """Return the proxy for an address; an empty string for a direct connection, which loopback always has."""
    from urllib.request import getproxies_environment, proxy_bypass

    url = urllib.parse.urlsplit(uri)
    if _is_loopback(url.hostname or "") or proxy_bypass(url.netloc):
        return ""
    proxies = getproxies_environment()
    proxy = proxies.get(url.scheme) or proxies.get("all") or ""
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
