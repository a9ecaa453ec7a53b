"""The only door: a CONNECT proxy that is itself every Azure host, and answers 403 to everything else."""

import socket
import struct
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, Any, cast
from urllib.parse import unquote
from wsgiref.handlers import SimpleHandler
from wsgiref.headers import Headers

from tests.azure.certificates import Authority

Application = Callable[[dict[str, Any], Callable[..., Any]], Any]


class Gateway(ThreadingHTTPServer):
    """Listens on 127.0.0.1. `application` gets each request, with its host as `loopback.host` if it was tunnelled."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, authority: Authority, known: Callable[[str], bool], application: Application, port: int) -> None:
        self.authority, self.known, self.application = authority, known, application
        self.refused: Callable[[str, str], None] = lambda method, target: None
        super().__init__(("127.0.0.1", port), Connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Forget a connection that the client broke off; anything else is a bug of ours."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Connection(BaseHTTPRequestHandler):
    """One connection, which carries one request, or a CONNECT and then one request."""

    server: Gateway
    protocol_version = "HTTP/1.1"
    host = ""

    def do_CONNECT(self) -> None:
        """Turn the connection into a TLS server that is the host asked for."""
        host, _, port = self.path.lower().rpartition(":")
        if port != "443" or not self.server.known(host):
            self.server.refused("CONNECT", self.path)
            self.refuse(f"the loopback Azure lets nothing out, and it is not {self.path}")
            return
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self.request = self.server.authority.context(host).wrap_socket(self.connection, server_side=True)
        self.host = host
        self.setup()
        self.handle_one_request()
        self.close_connection = True

    def answer(self) -> None:
        """Let the application answer."""
        self.close_connection = True
        if not self.path.startswith("/"):
            self.server.refused(self.command, self.path)
            self.refuse("the loopback Azure lets nothing out")
            return
        path, _, query = self.path.partition("?")
        environment: dict[str, Any] = {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(path, "latin-1"),
            "RAW_PATH": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": self.headers.get("Content-Length", ""),
            "SERVER_NAME": self.host or "127.0.0.1",
            "SERVER_PORT": "443" if self.host else str(self.server.server_address[1]),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "loopback.host": self.host,
            "loopback.reset": self.reset,
        }
        for name, value in self.headers.items():
            environment.setdefault("HTTP_" + name.upper().replace("-", "_"), value)
        handler = Handler(
            cast(IO[bytes], self.rfile), cast(IO[bytes], self.wfile), sys.stderr, environment, multithread=True
        )
        handler.wsgi_run_once = False
        if self.host:
            environment["HTTPS"] = "on"
        handler.run(self.server.application)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer  # noqa: N815 - http.server's names

    def refuse(self, message: str) -> None:
        """Answer 403."""
        self.close_connection = True
        self.send_response(403)
        self.send_header("Content-Length", str(len(message)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(message.encode())

    def reset(self) -> None:
        """Break the connection off as a network fault does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        raise ConnectionResetError("a fault that was asked for")

    def finish(self) -> None:
        """Close the TLS side too, which the server does not know of."""
        super().finish()
        if self.host:
            self.connection.close()

    def log_message(self, *arguments: Any) -> None:
        """Stay silent; the request log tells everything."""


class Handler(SimpleHandler):
    """Writes HTTP/1.1 answers and lets a broken connection go."""

    headers: Headers
    http_version = "1.1"
    server_software = "LoopbackAzure"

    def cleanup_headers(self) -> None:
        """Say that the connection closes after the answer."""
        super().cleanup_headers()
        self.headers["Connection"] = "close"

    def log_exception(self, exc_info: Any) -> None:
        """Log what is no broken connection."""
        if not isinstance(exc_info[1], OSError):
            super().log_exception(exc_info)
