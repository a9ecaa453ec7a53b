"""The programs that are measured: started, timed, and never left behind."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.project import Project, clean_environment

LIMIT_S = 180.0
POLL_S = 0.002
KEY = "a-key-for-the-bench-that-is-no-secret"
INVOKE = [sys.executable, "-m", "invoke"]


@contextlib.contextmanager
def running(command: list[str], folder: Path, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command with a log in its folder. What is left of it, and of what it started, is killed at the end."""
    with (folder / "bench.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=users_environment() | environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    watchdog = threading.Timer(LIMIT_S, kill, [process])
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        kill(process)
        process.wait()


def users_environment() -> dict[str, str]:
    """Return the environment in which Python keeps what it has compiled, as it does for users and not in all of CI."""
    return {name: value for name, value in clean_environment().items() if name != "PYTHONDONTWRITEBYTECODE"}


def kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill the session of a process."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def timed(command: list[str], folder: Path) -> float:
    """Return how many seconds a command takes. Raises RuntimeError with its log where it fails."""
    begin = time.perf_counter()
    with running(command, folder) as process:
        code = process.wait()  # with a limit it would sleep up to 50 ms between two looks; the watchdog has the limit
        seconds = time.perf_counter() - begin
    if code:
        raise RuntimeError(f"{' '.join(command)}: exit code {code}\n{(folder / 'bench.log').read_text()}")
    return seconds


def await_answer(process: "subprocess.Popen[bytes]", port: int, body: bytes) -> None:
    """Wait until a service gives its first prediction. Raises RuntimeError where its process ends instead."""
    while process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
        try:
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
            connection.request("POST", "/score", body, headers)
            response = connection.getresponse()
            if response.status == http.HTTPStatus.OK:
                return
            raise RuntimeError(f"status {response.status}: {response.read().decode()}")
        except OSError:
            time.sleep(POLL_S)
        finally:
            connection.close()
    raise RuntimeError(f"{process.args!r} ended with code {process.returncode}")


@contextlib.contextmanager
def fresh_project() -> Iterator[Project]:
    """Give a project as it is after a clone, with keys of its own; its services are stopped at the end."""
    with fresh_folder() as folder:
        project = Project(folder)
        for cache in list(folder.rglob("__pycache__")):
            shutil.rmtree(cache)
        (folder / ".env").write_text(f"SCORING_KEY_PRIMARY={KEY}\nSCORING_KEY_SECONDARY={KEY[::-1]}\n")
        (folder / ".env").chmod(0o600)
        try:
            yield project
        finally:
            project.close()


@contextlib.contextmanager
def released_project() -> Iterator[Project]:
    """Give a project after its first release."""
    with fresh_project() as project:
        timed([*INVOKE, "release"], project.root)
        yield project


@contextlib.contextmanager
def fresh_folder() -> Iterator[Path]:
    """Give an empty folder."""
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def image_of(project: Project) -> tuple[Path, list[Any]]:
    """Return where a project's image is, and rows to ask it."""
    record = json.loads((project.root / "artifacts/local/image.json").read_bytes())
    return Path(record["location"]), record["rows"]


def request_body(rows: list[Any]) -> bytes:
    """Return the body of a request for predictions."""
    return json.dumps({"data": rows}).encode()
