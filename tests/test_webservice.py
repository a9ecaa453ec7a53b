"""Requests to services go through the proxy and trust the certificates that the environment names."""

import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lib.webservice import Client, identity, identity_mismatch
from tests.azure.certificates import Authority

VARIABLES = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
)
HOST = "scoring.example"


class Service(BaseHTTPRequestHandler):
    """A service, and a proxy that is itself every host behind it, with TLS after CONNECT."""

    server: "Server"
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.send_response(200)
        content = json.dumps({"result": json.loads(body)["data"]} if body else {}).encode()
        for name, value in (identity("m", 1, "i") | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST  # noqa: N815 - a name of http.server

    def do_CONNECT(self) -> None:
        self.server.asked.append(f"CONNECT {self.path} {self.headers.get('Proxy-Authorization', '')}".strip())
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        context = self.server.authority.context(self.path.rpartition(":")[0])
        self.close_connection = True
        with contextlib.suppress(OSError), context.wrap_socket(self.connection, server_side=True) as self.request:
            self.setup()
            self.handle_one_request()
            self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, authority: Authority) -> None:
        self.authority, self.asked = authority, list[str]()
        super().__init__(("127.0.0.1", 0), Service)

    def handle_error(self, *_: Any) -> None:
        pass  # a client that does not trust the certificate hangs up


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Start the service, without any of the variables in the environment."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    made = Server(Authority(tmp_path))
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def address(server: Server) -> str:
    return f"127.0.0.1:{server.server_address[1]}"


@pytest.mark.parametrize("trusted", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_https_goes_through_the_proxy_and_trusts_the_companys_certificates(
    server: Server, monkeypatch: pytest.MonkeyPatch, trusted: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://ann:p%40ss@{address(server)}")
    assert "CERTIFICATE_VERIFY_FAILED" in identity_mismatch(f"https://{HOST}/score", "key", identity("m", 1, "i"))
    monkeypatch.setenv(trusted, str(server.authority.file))
    assert identity_mismatch(f"https://{HOST}/score", "key", identity("m", 1, "i")) == ""
    assert Client(f"https://{HOST}/score", "key").mismatch([[1.0]], [[1.0]]) == ""
    login = base64.b64encode(b"ann:p@ss").decode()
    assert set(server.asked) == {f"CONNECT {HOST}:443 Basic {login}", "GET /score", "POST /score"}


def test_http_goes_through_the_proxy_unless_no_proxy_names_the_host(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", address(server))
    assert Client(f"http://{HOST}/score", "key").ask(method="GET").status == 200
    assert server.asked == [f"GET http://{HOST}/score"]
    monkeypatch.setenv("NO_PROXY", "example")
    with pytest.raises(Exception, match=r"resolve|not known|failure|blocked"):
        Client(f"http://{HOST}/score", "key").ask(method="GET")
    assert len(server.asked) == 1


def test_this_machine_is_asked_directly(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert Client(f"http://{address(server)}/score", None).ask(method="GET").status == 200
    assert server.asked == ["GET /score"]


def test_what_keeps_a_service_from_answering_is_named(server: Server) -> None:
    with Server(server.authority) as other:
        free = address(other)
    with pytest.raises(OSError, match="refused"):
        Client(f"http://{free}/score", None).ask(method="GET")
