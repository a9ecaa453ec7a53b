"""How fast a service starts and answers: against azureml-inference-server-http by itself, and the seed's score.py."""

import contextlib
import functools
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.load import Load
from tests.bench.measure import Result, in_turn
from tests.bench.programs import (
    KEY,
    await_answer,
    fresh_folder,
    image_of,
    released_project,
    request_body,
    running,
)
from tests.support.project import free_port

HERE = Path(__file__).parent
SECONDS = 2.0
BUSY_LIMIT = 0.8
MANY_ROWS = 1000
KEYS = {"SCORING_KEY_PRIMARY": KEY, "SCORING_KEY_SECONDARY": KEY[::-1]}


def start(rounds: int) -> Iterator[Result]:
    """Measure from a server's command to its first prediction."""
    with released_project() as project, fresh_folder() as folder:
        location, rows = image_of(project)
        image, body = copy_of(location, folder), request_body(rows[:1])
        ours, other = in_turn(lambda: started(own(image), body), lambda: started(azure(image), body), rounds)
    yield Result("serve.py to first prediction / azmlinfsrv", "s", ours, other, "at most", 1.0)


def requests(rounds: int) -> Iterator[Result]:
    """Measure one-row requests to the deployed services, which have one worker and two."""
    with released_project() as project, fresh_folder() as folder:
        location, rows = image_of(project)
        image, body = copy_of(location, folder), request_body(rows[:1])
        for workers, ours in enumerate(project.ports, start=1):
            with served(azure(image, workers), body) as other:
                yield from compared(f"one-row requests, workers: {workers} / azmlinfsrv", ours, other, body, rounds)


def many_rows(rounds: int) -> Iterator[Result]:
    """Measure requests of many rows, by our score.py and by the seed's way, both under the image's server."""
    with released_project() as project, fresh_folder() as ours_folder, fresh_folder() as seed_folder:
        location, rows = image_of(project)
        body = request_body([rows[place % len(rows)] for place in range(MANY_ROWS)])
        image, seed = copy_of(location, ours_folder), copy_of(location, seed_folder)
        shutil.copy(HERE / "seed_score.py", seed / "service" / "score.py")
        with served(own(image), body) as ours, served(own(seed), body) as other:
            throughput, _ = compared(f"{MANY_ROWS:,}-row requests / the seed's way", ours, other, body, rounds)
            yield Result(throughput.what, "1/s", throughput.ours, throughput.other, "at least", 1.5)


Server = tuple[list[str], int, Path]


def own(image: Path) -> Server:
    """Return the image's own command, its port and folder."""
    port = free_port()
    return [sys.executable, "serve.py", "--bind", f"127.0.0.1:{port}"], port, image


def azure(image: Path, workers: int = 1) -> Server:
    """Return the command of Azure's server for an image's score.py and model."""
    port, command = free_port(), str(Path(sys.executable).with_name("azmlinfsrv"))
    files = ["--entry_script", "service/score.py", "--model_dir", "model/1"]
    return [command, *files, "--port", str(port), "--worker_count", str(workers)], port, image


def copy_of(image: Path, folder: Path) -> Path:
    """Copy an image, for servers write next to their files."""
    return shutil.copytree(image, folder / "image")


def started(server: Server, body: bytes) -> float:
    """Return the seconds from a server's command to its first prediction."""
    command, port, folder = server
    begin = time.perf_counter()
    with running(command, folder, **KEYS) as process:
        await_answer(process, port, body)
        return time.perf_counter() - begin


@contextlib.contextmanager
def served(server: Server, body: bytes) -> Iterator[int]:
    """Give the port of a running server."""
    command, port, folder = server
    with running(command, folder, **KEYS) as process:
        await_answer(process, port, body)
        yield port


def compared(what: str, ours: int, other: int, body: bytes, rounds: int) -> tuple[Result, Result]:
    """Load two servers in turn, and compare requests a second and the 99th percentile."""
    loads = in_turn(functools.partial(load, ours, body), functools.partial(load, other, body), rounds)
    rates = [[one.per_second for one in side] for side in loads]
    latencies = [[one.p99_ms for one in side] for side in loads]
    return (
        Result(what, "1/s", rates[0], rates[1], "at least", 1.0),
        Result(f"{what}: p99", "ms", latencies[0], latencies[1], "at most", 1.0),
    )


def load(port: int, body: bytes) -> Load:
    """Load a server from another process. Raises RuntimeError where it fails, or the client is the bottleneck."""
    command = [sys.executable, str(HERE / "load.py"), str(port), KEY, str(SECONDS)]
    done = subprocess.run(command, input=body, capture_output=True, check=False, timeout=SECONDS * 30)
    if done.returncode:
        raise RuntimeError(done.stderr.decode())
    found = Load(**json.loads(done.stdout))
    if found.busy > BUSY_LIMIT:
        raise RuntimeError(f"the client itself took {found.busy:.0%} of a core: it is measured, not the server")
    return found
