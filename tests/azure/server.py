"""Puts the parts together: every request passes the journal and the faults, then the application of its host."""

import io
import re
import secrets
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Blueprint, request

from tests.azure import (
    aad,
    admin,
    arm,
    artifacts,
    blobs,
    compute,
    datastores,
    environments,
    execution,
    front,
    history,
    images,
    metrics,
    models,
    operations,
    services,
    snapshots,
    templates,
)
from tests.azure.certificates import Authority
from tests.azure.faults import Fault, answer
from tests.azure.gateway import Gateway
from tests.azure.journal import Entry, Journal, legible
from tests.azure.state import State
from tests.azure.storage import Storage
from tests.azure.web import application

LOGIN = r"login\.(microsoftonline\.com|microsoftonline\.us|chinacloudapi\.cn)"
MANAGEMENT = r"management\.(azure\.com|usgovcloudapi\.net|chinacloudapi\.cn)"
HTTP_FAULTS = ("throttle", "error", "reset", "slow", "unauthorized", "forbidden")
DATA_PLANE = (
    history,
    datastores,
    metrics,
    artifacts,
    snapshots,
    execution,
    models,
    environments,
    images,
    operations,
    services,
)
discovery = Blueprint("discovery", __name__)


@discovery.get("/discovery")
def discover() -> Any:
    """Say where each service is."""
    region = request.host.split(".")[0]
    here = f"https://{region}.api.azureml.ms"
    names = ("api", "history", "experimentation", "hyperdrive", "pipelines", "catalog", "inference", "notebook")
    return dict.fromkeys(names, here) | {
        "experiments": f"https://{region}.experiments.azureml.net",
        "modelmanagement": f"https://{region}.modelmanagement.azureml.net",
        "studio": "https://ml.azure.com",
    }


class Server:
    """The loopback Azure in one process."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.journal = Journal(folder / "requests.jsonl")
        self.state = State(folder, Storage(folder))
        self.authority = Authority(folder, self.state.certificates)
        key = secrets.token_hex(32)
        everything = [part.web for part in DATA_PLANE] + [compute.data]
        self.hosts: list[tuple[str, Any]] = [
            (
                LOGIN,
                application("aad", self.state, key, aad.web, open_to_all=True),
            ),
            (
                MANAGEMENT,
                application("arm", self.state, key, arm.web, templates.web, compute.web, compute.status),
            ),
            (r"\w+\.blob\.core\.windows\.net", blobs.Blobs(self.state.storage)),
            (r"\w+\.(api\.azureml\.ms|\w+\.azureml\.net)", application("ml", self.state, key, *everything)),
        ]
        self.discovery = application("discovery", self.state, key, discovery, open_to_all=True)
        self.front = application("front", self.state, key, front.tls, open_to_all=True)
        self.admin = application("admin", self.state, key, admin.web, front.web, open_to_all=True)
        self.admin.config.update(JOURNAL=self.journal)
        self.gateway = Gateway(self.authority, lambda host: self.find(host) is not None, self.serve, port)
        self.gateway.refused = self.journal.refuse
        self.state.port = self.gateway.server_address[1]
        self.admin.config.update(CA=str(self.authority.file))

    def find(self, host: str) -> Any:
        """Return the application that is a host."""
        if host in self.state.certificates:
            return self.front
        return next((app for pattern, app in self.hosts if re.fullmatch(pattern, host)), None)

    def serve(self, environment: dict[str, Any], start: Callable[..., Any]) -> Any:
        """Answer a request, as a WSGI application."""
        host = environment["loopback.host"]
        if not host:
            return self.admin(environment, start)
        environment["PATH_INFO"] = re.sub("/resourcegroups/", "/resourceGroups/", environment["PATH_INFO"], flags=re.I)
        path, method = environment["PATH_INFO"], environment["REQUEST_METHOD"]
        entry = self.journal.begin(method, host, path, environment["QUERY_STRING"])
        content = environment["wsgi.input"].read(int(environment["CONTENT_LENGTH"] or 0))
        environment["wsgi.input"] = io.BytesIO(content)
        entry.request = legible(content)
        entry.headers = {"x-ms-client-request-id": environment.get("HTTP_X_MS_CLIENT_REQUEST_ID", "")}
        try:
            return self.reply(entry, environment, start)
        finally:
            self.journal.end(entry)

    def reply(self, entry: Entry, environment: dict[str, Any], start: Callable[..., Any]) -> Any:
        """Answer a request, or give the faulty answer that was asked for."""
        fault = self.state.faults.take(f"{entry.method} {entry.host}{entry.path}", *HTTP_FAULTS)
        if fault:
            entry.fault = fault.kind
            if fault.kind == "reset":
                if fault.after:
                    self.forward(entry, environment)
                environment["loopback.reset"]()
            if wrong := answer(fault):
                return self.faulty(entry, fault, wrong, start)
        status, headers, parts = self.forward(entry, environment)
        entry.status = int(status.split()[0])
        start(status, headers)
        return [parts]

    def faulty(self, entry: Entry, fault: Fault, wrong: tuple[int, dict[str, str], bytes], start: Any) -> Any:
        """Answer with a fault."""
        status, headers, content = wrong
        entry.status = status
        start(f"{status} {fault.kind}", [("Content-Type", "application/json"), *headers.items()])
        return [content]

    def forward(self, entry: Entry, environment: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes]:
        """Let the host's application answer, and note what it was."""
        app = self.discovery if entry.path == "/discovery" else self.find(entry.host)
        got: list[Any] = []

        def start(status: str, headers: Any, _error: Any = None) -> Callable[[bytes], None]:
            got.extend((status, headers))
            return lambda _content: None

        chunks = app(environment, start)
        content = b"".join(chunks)
        if hasattr(chunks, "close"):
            chunks.close()
        entry.known = "loopback.unknown" not in environment
        entry.rule = environment.get("loopback.rule", "")
        entry.response = legible(content)
        return got[0], got[1], content

    def close(self) -> None:
        """Stop everything."""
        self.gateway.shutdown()
        self.gateway.server_close()
        self.state.close()
        self.state.storage.close()


def wait_for_the_end_of_input(end: threading.Event) -> None:
    """Wait until whoever started us closes our input, or ends."""
    sys.stdin.buffer.read()
    end.set()


def run(folder: Path, port: int, ready: Callable[[Server], None], leash: bool) -> None:
    """Serve until a signal comes or, on a leash, until the pipe at our standard input closes, whoever holds it."""
    server = Server(folder, port)
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: end.set())
    if leash:
        threading.Thread(target=wait_for_the_end_of_input, args=[end], daemon=True).start()
    threading.Thread(target=server.gateway.serve_forever, args=(0.1,), daemon=True).start()
    try:
        ready(server)
        end.wait()
    finally:
        server.close()
