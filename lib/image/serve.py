"""Serve the image that contains this file: Azure's own application, behind two keys and a limit on size, in gunicorn.

This file goes into every image. It imports nothing of the release.
"""

import argparse
import contextlib
import faulthandler
import os
import runpy
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.workers.sync import SyncWorker

HERE = Path(__file__).resolve().parent
REQUEST_BYTES = 1048576
START_LIMIT_S = 3600.0  # for init(); a release waits for a shorter time
LINGER_S = 2.0  # how long a refused body is still read

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def load() -> Application:
    """Load score.py with the model into Azure's application, which reads its settings from the environment.

    The files of the folder SERVICE_SECRETS become variables that score.py finds.
    """
    redaction = runpy.run_path(str(HERE / "redaction.py"))
    redaction["receive"](redaction["read_folder"](os.environ.pop("SERVICE_SECRETS", "")))
    os.environ |= {
        "AML_APP_ROOT": str(HERE),
        "AZUREML_ENTRY_SCRIPT": "entry.py",
        "AZUREML_MODEL_DIR": str(HERE / "model" / "1"),
    }
    from azureml_inference_server_http.server.entry import app

    return app  # type: ignore[no-any-return]


class Guard:
    """Refuses requests without a key, and requests that are too large. The health probe at / needs no key."""

    def __init__(self, application: Application, keys: Any, request_bytes: int) -> None:
        self.application = application
        self.keys = keys
        self.request_bytes = request_bytes

    def __call__(self, request: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request, as WSGI specifies."""
        fault = None if request["PATH_INFO"] == "/" else self._fault(request)
        if fault is None:
            return self.application(request, start)
        status, message = fault
        start(status, [("Content-Type", "application/json"), ("Content-Length", str(len(message)))])
        return _refuse(message, request)

    def _fault(self, request: dict[str, Any]) -> tuple[str, bytes] | None:
        """Return the status and the body of the answer to a request that must be refused."""
        header = request.get("HTTP_AUTHORIZATION", "").encode("latin-1")
        if not self.keys.accept(header):
            return "401 Unauthorized", b'{"message": "send a key: Authorization: Bearer KEY"}'
        if "HTTP_TRANSFER_ENCODING" in request:
            return "411 Length Required", b'{"message": "send the Content-Length of the body"}'
        if int(request.get("CONTENT_LENGTH") or 0) > self.request_bytes:
            return "413 Content Too Large", b'{"message": "the body is larger than %d bytes"}' % self.request_bytes
        return None


def _refuse(message: bytes, request: dict[str, Any]) -> Iterator[bytes]:
    """Answer, then keep reading for a moment.

    Closing while the client still sends would reset the connection, and the client would never see the answer.
    """
    yield message
    end = time.monotonic() + LINGER_S
    with contextlib.suppress(OSError):
        while (remaining_s := end - time.monotonic()) > 0:
            request["gunicorn.socket"].settimeout(remaining_s)
            if not request["wsgi.input"].read(1 << 16):
                return


class Worker(SyncWorker):  # type: ignore[misc]
    """A worker that loads the model itself: threads that a model starts in init() would not survive a fork."""

    def load_wsgi(self) -> None:
        """Load the application. Its limit differs from that of a request, and a crash leaves its stack in the log."""
        faulthandler.enable(2)
        limit = time.monotonic() + START_LIMIT_S
        os.utime(self.tmp.fileno(), (limit, limit))  # gunicorn ends a worker whose file is older than its timeout
        super().load_wsgi()
        faulthandler.enable(2)  # again, because Azure's server moves it to the standard error of that moment
        self.tmp.notify()


class Server(BaseApplication):  # type: ignore[misc]
    """Gunicorn. Each of its workers loads the application."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        super().__init__()
        # Run, not imported: a module of this name must not hide one of the owner's.
        scoring_keys = runpy.run_path(str(HERE / "scoring_keys.py"))
        try:
            self.keys = scoring_keys["ScoringKeys"].from_environment(os.environ)
        except ValueError as error:
            sys.exit(str(error))

    def load_config(self) -> None:
        """Pass the options to gunicorn, which calls this again at each reload."""
        for name, value in self.options.items():
            self.cfg.set(name, value)

    def load(self) -> Application:
        """Load the guarded application in a worker. score.py finds no key in the environment: they have left it."""
        return Guard(load(), self.keys, int(os.environ.get("REQUEST_BYTES", REQUEST_BYTES)))


def options(bind: str, workers: int) -> dict[str, Any]:
    """Return gunicorn's options. A sync worker serves one request per connection, so none is lost when it ends."""
    return {
        "bind": bind,
        "workers": workers,
        "worker_class": Worker,
        "control_socket_disable": True,
        "loglevel": "warning",
    }


def main() -> None:
    """Serve until SIGTERM. Every start first checks the image's files, if IMAGE_DIGEST says which image this is."""
    if image := os.environ.get("IMAGE_DIGEST"):
        intact = runpy.run_path(str(HERE / "intact.py"))
        try:
            intact["require_intact"](HERE, image)
        except intact["DamagedImageError"] as error:
            sys.exit(f"DamagedImageError: {error}")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bind", default="127.0.0.1:5001")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    Server(**options(arguments.bind, arguments.workers)).run()


if __name__ == "__main__":
    main()
