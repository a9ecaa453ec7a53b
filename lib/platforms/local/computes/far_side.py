"""The far side of a training on another machine: it does one thing, and ends with the connection.

A script of the standard library of Python 3.8 alone. Its source, after those of leased.py and parts.py, is sent to the
machine that trains. Both sides write lines of JSON; an empty object is a heartbeat. If no heartbeat comes, the script
kills the training and removes the run's folder. Everything it writes is in one folder, which is named by the id of a
workspace and used by that workspace alone:
    runs/<run>             of a training, while it runs; a folder whose lock nobody holds remained after a power failure
    data/<sha256>/<name>   data files, kept
    environments/<digest>  environments, built by building.py, kept
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import itertools
import json
import os
import platform
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:  # on the other machine the sources of both modules have run before, and defined these names
    import subprocess

    from lib.environment.leased import LEASED, Limited, follow, kill, start
    from lib.platforms.local.computes.parts import append_part, read_parts


class FarSide:
    """One folder on this machine, and the run in it."""

    def __init__(self, folder: str, silence_s: float, beat_s: float) -> None:
        self.folder = Path.home() / Path(folder).expanduser()
        self.beat_s = beat_s
        self.input = io.BufferedReader(Limited(0, silence_s))
        self.run: Path | None = None
        self.lock: Any = None
        self.process: subprocess.Popen[bytes] | None = None
        self.writing = threading.Lock()
        self.starting = threading.RLock()  # held while a process is started or killed

    def serve(self, do: str, **arguments: Any) -> None:
        """Do what is asked for. An error of this machine, a full disk for instance, is reported."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.end)
        threading.Thread(target=self.beat, daemon=True).start()
        try:
            self.say(hello=platform.python_version())
            self.say(answer=getattr(self, f"do_{do}")(**arguments))
        except OSError as error:
            self.say(error=f"{error.strerror or error}: {error.filename or self.folder}")
        finally:
            self.end()

    def say(self, **message: Any) -> None:
        """Send one message."""
        with self.writing:
            print(json.dumps(message), flush=True)

    def beat(self) -> None:
        """Send heartbeats."""
        while True:
            time.sleep(self.beat_s)
            self.say()

    def watch(self) -> None:
        """Wait until the connection is closed or silent, and end."""
        with contextlib.suppress(TimeoutError):
            for _ in self.input:
                pass
        self.end()

    def end(self, *_signal: Any) -> None:
        """Kill what runs, remove the run's folder, and exit."""
        self.starting.acquire()  # never released: nothing may start from here on
        if self.process:
            kill(self.process)
            self.process.wait()
        if self.run:
            shutil.rmtree(self.run, ignore_errors=True)
        os._exit(0)

    # What can be asked for

    def do_train(
        self,
        run: str,
        data: str,
        environment: str,
        requirements: str,
        build_limit_s: float,
        train: list[str],
        limit_s: float,
        variables: dict[str, str],
    ) -> None:
        """Receive the files, build the environment, train, and send the outputs.

        `data` is a path below the folder; the argument of that name becomes an absolute path. `variables` are
        for the training alone.
        """
        self.say(has_data=(self.folder / data).is_file())
        files = self.receive()
        first = next(files)  # the other side records this machine before it sends it: create nothing earlier
        self.run = self.open(run)
        for name, part in itertools.chain([first], files):
            append_part(self.run / name, part)
        threading.Thread(target=self.watch, daemon=True).start()
        if (self.run / "data").exists():
            (self.folder / data).parent.mkdir(parents=True, exist_ok=True)
            (self.run / "data").replace(self.folder / data)
        place = self.folder / "environments" / environment
        if self.execute(
            "built", build_limit_s, sys.executable, "-u", "-c", LEASED, "building.py", str(place), requirements
        ):
            self.say(python=json.loads((place / "environment.json").read_text())["python"])
            arguments = [str(self.folder / data) if data and part == data else part for part in train]
            python = str(place / "bin" / "python")
            if self.execute("trained", limit_s, python, "-u", "-c", LEASED, "train.py", *arguments, **variables):
                self.send_outputs(self.run / "model/outputs")

    def do_look(self, source: str, requirements: str, limit_s: float) -> dict[str, Any] | None:
        """Describe the folder that contains those of workspaces, or will contain them; change nothing."""
        threading.Thread(target=self.watch, daemon=True).start()
        if not self.execute("checked", limit_s, sys.executable, "-c", source, "--check", requirements):
            return None
        place = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
            raise PermissionError(errno.EACCES, "Nothing can be written there", str(place))
        environments = list(self.folder.glob("*/environments/*/environment.json"))
        free_bytes = shutil.disk_usage(place).free
        return {"folder": str(self.folder), "free_bytes": free_bytes, "environments": len(environments)}

    def do_remove(self) -> bool:
        """Remove the folder with everything that trainings created in it, unless one is running."""
        if any(self.runs(locked=True)):
            return False
        if self.folder.is_dir():
            shutil.rmtree(self.folder)
            with contextlib.suppress(OSError):  # the user, or another workspace, has something there
                self.folder.parent.rmdir()
        return True

    # Parts of a training

    def receive(self) -> Iterator[tuple[str, str]]:
        """Yield names and parts of files until all of them have come."""
        for line in self.input:
            message = json.loads(line)
            if "file" in message:
                yield message["file"], message["part"]
            if "sent" in message:
                return
        raise ConnectionError("the connection was closed")

    def open(self, name: str) -> Path:
        """Create and lock a run's folder, and remove the folders of runs that a power failure ended."""
        runs = self.folder / "runs"
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        runs.mkdir(exist_ok=True)
        with (runs / ".turn").open("a") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            for abandoned in self.runs(locked=False):
                shutil.rmtree(abandoned, ignore_errors=True)
            run = runs / name
            run.mkdir()
            self.lock = (run / "lock").open("a")
            fcntl.flock(self.lock, fcntl.LOCK_EX)
        return run

    def runs(self, locked: bool) -> Iterator[Path]:
        """Yield the folders of running trainings, or of abandoned ones."""
        for run in sorted(path for path in (self.folder / "runs").glob("*") if path.is_dir()):
            with contextlib.suppress(FileNotFoundError), (run / "lock").open("r+") as lock:  # it may end meanwhile
                if is_locked(lock) == locked:
                    yield run

    def execute(self, key: str, limit_s: float, *command: str, **variables: str) -> bool:
        """Run a program, send its lines and how it ended, and return whether it succeeded."""
        with self.starting:
            # A training runs in its copy of model/, as on Azure.
            folder = self.run / "model" if self.run and key == "trained" else self.run
            self.process = start(list(command), folder, {**os.environ, **variables})
        ended = follow(self.process, limit_s, lambda line: self.say(line=line))
        self.say(**{key: ended})
        return not (ended.code or ended.late)

    def send_outputs(self, folder: Path) -> None:
        """Send the files of a folder and of the folders in it."""
        for path in filter(Path.is_file, folder.rglob("*")):
            for part in read_parts(path):
                self.say(file=path.relative_to(folder).as_posix(), part=part)


def is_locked(lock: IO[str]) -> bool:
    """Return whether another process holds a lock; if not, it is ours until its file is closed."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


if __name__ == "__main__":
    FarSide(sys.argv[1], float(sys.argv[2]), float(sys.argv[3])).serve(**json.loads(sys.argv[4]))
