"""The storage account's host name: hands requests on to Azurite, so that they too are logged and can go wrong."""

from collections.abc import Callable
from typing import Any

from tests.azure.storage import Storage

HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class Blobs:
    """A WSGI application."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def __call__(self, environment: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        """Hand a request on; one without a signature is refused by Azurite."""
        headers = {
            name[5:].replace("_", "-").lower(): value
            for name, value in environment.items()
            if name.startswith("HTTP_") and name not in ("HTTP_HOST", "HTTP_CONNECTION", "HTTP_ACCEPT_ENCODING")
        }
        headers |= {"Accept-Encoding": "identity", "Host": environment["loopback.host"]}
        if environment["CONTENT_TYPE"]:
            headers["Content-Type"] = environment["CONTENT_TYPE"]
        answer = self.storage.session.request(
            environment["REQUEST_METHOD"],
            f"{self.storage.base}{environment['RAW_PATH']}?{environment['QUERY_STRING']}",
            headers=headers,
            data=environment["wsgi.input"].read(),
            timeout=60,
        )
        kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in HOP]
        length = answer.headers.get("Content-Length", str(len(answer.content)))
        if environment["REQUEST_METHOD"] == "HEAD":
            kept.append(("Content-Length", length))
        start(f"{answer.status_code} {answer.reason}", kept)
        return [answer.content]
