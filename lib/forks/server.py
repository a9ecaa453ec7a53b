"""The process behind lib.forks.client: it imports packages, and forks for each request from its socket.

It runs beside the owner's model and imports the standard library only.
"""

import ast
import contextlib
import faulthandler
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

from lib.forks import causes

# What a scoring server imports besides score.py, except modules that read their settings while they are imported.
# Small modules, because a request waits until the current import is done.
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
    """Serve requests until the other end closes.

    The packages of model/ are imported before the first request; those of service/ and the server between requests.
    """
    # Nobody waits for the forks, so the kernel removes them when they end.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for name in _packages(Path("model")):
        _import(name)
    for name in [*_packages(Path("service")), *SERVER]:
        while select.select([requests], [], [], 0)[0] and _serve(requests):
            pass
        _import(name)
    while _serve(requests):
        pass


def _packages(folder: Path) -> Iterator[str]:
    """Yield the modules that the files of a folder import, without the folder's own and those imported later."""
    paths = sorted(folder.rglob("*.py"))
    own = {path.stem for path in paths} | {folder.name}
    for path in paths:
        with contextlib.suppress(SyntaxError, OSError):  # the step that runs the file reports it
            for node in _run_at_import(ast.parse(path.read_bytes())):
                names = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
                names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                yield from (name for name in names if name and name.split(".")[0] not in own)


def _run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of a module that run when it is imported: no functions, nothing for type checkers only."""
    for child in ast.iter_child_nodes(node):
        type_checking = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not type_checking and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from _run_at_import(child)


def _import(name: str) -> None:
    """Import a module early. If that fails, the code that needs the module reports it."""
    with contextlib.suppress(Exception):
        importlib.import_module(name)


def _serve(requests: socket.socket) -> bool:
    """Fork for one request. Returns False if the other end has closed."""
    content, descriptors, _, _ = socket.recv_fds(requests, 1 << 16, 2)
    while content and not content.endswith(b"\n"):
        content += requests.recv(1 << 16)
    if not content:
        return False
    if os.fork() == 0:
        requests.close()
        _run(json.loads(content), *descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    return True


def _run(request: dict[str, Any], channel_fd: int, log_fd: int) -> None:
    """Call the function in this fork, send its result, and exit."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the function may start processes and wait for them
    os.setsid()
    os.dup2(log_fd, 1)
    os.dup2(log_fd, 2)
    os.close(log_fd)
    faulthandler.enable(2)  # a crash leaves its stack in the log
    os.environ.update(request["env"])
    channel = socket.socket(fileno=channel_fd)
    process = os.getpid()
    module, name = request["function"].split(":")
    try:
        function = getattr(importlib.import_module(module), name)
        if request["takes_channel"]:
            result = function(channel, *request["args"], **request["kwargs"])
        else:
            threading.Thread(target=_exit_with_caller, args=[channel], daemon=True).start()
            result = function(*request["args"], **request["kwargs"])
        answer = json.dumps({"result": result})
    except BaseException as error:
        if os.getpid() != process:  # a worker that gunicorn forked here; its code says why it ends
            os._exit(error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1)
        if request["takes_channel"] and isinstance(error, SystemExit) and not error.code:
            os._exit(0)  # a server that was stopped does not answer the caller
        traceback.print_exc()
        answer = json.dumps({"error": causes.describe(error)})
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError):
        channel.sendall(answer.encode() + b"\n")
    os._exit(0)  # not sys.exit: a fork must not run the exit handlers of the process that it was forked from


def _exit_with_caller(channel: socket.socket) -> None:
    """Exit when the caller closes its end, or is killed: the caller never sends anything."""
    channel.recv(1)
    os._exit(1)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
