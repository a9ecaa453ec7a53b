"""The process behind lib.forks.client: imports, then forks for each request on the socket it is given."""

import ast
import contextlib
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# What a scoring server imports beside score.py, but for the modules that read their settings while they are imported;
# in small parts, as a request waits for the part that is being imported.
SERVER = [
    "azureml_inference_server_http.server.user_script",
    "werkzeug.test",
    "gunicorn.app.base",
    "gunicorn.arbiter",
    "gunicorn.workers.sync",
    "azureml_inference_server_http.print_log_hook",
    "requests",
    "msrest",
    "cryptography.x509",
    "msal",
    "azure.identity",
    "opentelemetry.sdk.metrics",
    "azure.monitor.opentelemetry.exporter",
    "pydantic.types",
    "pydantic_settings",
    "flask_cors",
    "logging.config",
]


def main(requests: socket.socket) -> None:
    """Serve requests until the other end closes. What model/ imports comes first, what serves it when there is time."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for name in packages(Path("model")):
        load(name)
    for name in [*packages(Path("service")), *SERVER]:
        while select.select([requests], [], [], 0)[0] and serve(requests):
            pass
        load(name)
    while serve(requests):
        pass


def packages(folder: Path) -> Iterator[str]:
    """Yield the modules that the files of a folder import, except their own, and what is imported late on purpose."""
    paths = sorted(folder.rglob("*.py"))
    own = {path.stem for path in paths} | {folder.name}
    for path in paths:
        with contextlib.suppress(SyntaxError, OSError):
            for node in early(ast.parse(path.read_bytes())):
                names = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
                names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                yield from (name for name in names if name and name.split(".")[0] not in own)


def early(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of a module that run when it is imported: not its functions, nor what is for type checkers."""
    for child in ast.iter_child_nodes(node):
        checked = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not checked and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from early(child)


def load(name: str) -> None:
    """Import a module ahead of time; one that cannot be imported is for its user to report."""
    with contextlib.suppress(Exception):
        importlib.import_module(name)


def serve(requests: socket.socket) -> bool:
    """Fork for one request; False when there will be no more."""
    content, descriptors, _, _ = socket.recv_fds(requests, 1 << 16, 2)
    while content and not content.endswith(b"\n"):
        content += requests.recv(1 << 16)
    if not content:
        return False
    if os.fork() == 0:
        requests.close()
        run(json.loads(content), *descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    return True


def run(request: dict[str, Any], channel_fd: int, log_fd: int) -> None:
    """Be the fork: call the function, answer over the channel, and end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.dup2(log_fd, 1)
    os.dup2(log_fd, 2)
    os.close(log_fd)
    os.environ.update(request["environment"])
    channel = socket.socket(fileno=channel_fd)
    process = os.getpid()
    module, name = request["function"].split(":")
    try:
        function = getattr(importlib.import_module(module), name)
        if getattr(function, "takes_channel", False):
            result = function(channel, **request["arguments"])
        else:
            threading.Thread(target=end_with, args=[channel], daemon=True).start()
            result = function(**request["arguments"])
        answer = json.dumps({"result": result})
    except BaseException as error:
        if os.getpid() != process or (isinstance(error, SystemExit) and not error.code):
            os._exit(0)  # a server's worker, or a server, that was told to end
        traceback.print_exc()
        answer = json.dumps({"error": told(error)})
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError):
        channel.sendall(answer.encode() + b"\n")
    os._exit(0)


def end_with(channel: socket.socket) -> None:
    """End this process when the one that asked for it has gone."""
    channel.recv(1)
    os._exit(1)


def told(error: BaseException) -> str:
    """Say what was raised, and where in the user's own files.

    Where it was raised because of something else, as a server ends when score.py fails, that is told which the user's
    files raised, or which came first.
    """
    while not own(error) and (reason := error.__cause__ or error.__context__):
        error = reason
    where = f" ({Path(own(error)[-1].filename).name}, line {own(error)[-1].lineno})" if own(error) else ""
    return f"{type(error).__name__}: {error}{where}"


def own(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the frames of an error that are in the user's own files."""
    frames = traceback.extract_tb(error.__traceback__)
    return [frame for frame in frames if Path(frame.filename).parent.name in ("model", "service")]


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
