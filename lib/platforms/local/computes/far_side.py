"""The far side of a training on another machine: it does what it is asked to, and ends with the connection.

A script of the standard library alone, for Python 3.8 and later, whose source is sent to where it runs. Requests come
as lines of JSON on standard input, answers go as such to standard output; an empty object is a sign of life. Where
nothing comes any more, what runs is killed and the run's folder removed. Its one folder on that machine is named by the
id of a workspace, which nothing but that workspace's trainings has, and holds
    runs/<run>             of a training, as long as that lasts; nobody holds the lock of one that was left
    data/<sha256>/<name>   data that was sent, kept
    environments/<digest>  environments, built by building.py, kept
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import platform
import queue
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

CHUNK_BYTES = 1 << 20
LOOK_S = 0.1  # as often is looked whether a silent process has ended


class FarSide:
    """One training's place on this machine, and the process that runs for it."""

    def __init__(self, folder: Path, silence_s: float, beat_s: float) -> None:
        self.folder = folder
        self.silence_s = silence_s
        self.beat_s = beat_s
        self.run_folder: Path | None = None
        self.lock: Any = None
        self.process: subprocess.Popen[bytes] | None = None
        self.requests: queue.Queue[dict[str, Any]] = queue.Queue()
        self.turn = threading.Lock()  # of who writes
        self.starting = threading.RLock()  # of who starts or kills a process

    def serve(self) -> None:
        """Answer requests until none can come any more."""
        for work in (self.listen, self.beat):
            threading.Thread(target=work, daemon=True).start()
        try:
            self.say(hello=platform.python_version())
            while True:
                self.answer(**self.requests.get())
        finally:
            self.end()

    def answer(self, do: str, **arguments: Any) -> None:
        """Do what is asked for; what this machine refuses, a full disk for instance, is an answer, too."""
        try:
            answer = getattr(self, f"do_{do}")(**arguments)
        except OSError as error:
            self.say(error=f"{error.strerror or error}: {error.filename or self.folder}")
        else:
            self.say(answer=answer)

    def say(self, **message: Any) -> None:
        """Send one message."""
        with self.turn:
            print(json.dumps(message), flush=True)

    def beat(self) -> None:
        """Let the other side know that this one is there."""
        while True:
            time.sleep(self.beat_s)
            self.say()

    def listen(self) -> None:
        """Take requests in; a closed connection, and one from which nothing comes, is the end."""
        rest = b""
        while select.select([0], [], [], self.silence_s)[0]:
            part = os.read(0, CHUNK_BYTES)
            if not part:
                break
            *lines, rest = (rest + part).split(b"\n")
            for request in filter(None, map(json.loads, filter(None, lines))):
                self.requests.put(request)
        self.end()

    def end(self, *_signal: Any) -> None:
        """Kill what runs, remove the run's folder, and end."""
        self.starting.acquire()
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self.run_folder:
            shutil.rmtree(self.run_folder, ignore_errors=True)
        os._exit(1)

    # Requests

    def do_open(self, run: str) -> str:
        """Make the run's folder, and remove those that were left."""
        runs = self.folder / "runs"
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        runs.mkdir(exist_ok=True)
        with (runs / ".turn").open("a") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            for left in self.runs(locked=False):
                shutil.rmtree(left, ignore_errors=True)
            place = runs / run
            place.mkdir()
            self.lock = (place / "lock").open("a")
            fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.run_folder = place
        return str(place)

    def runs(self, locked: bool) -> Iterator[Path]:
        """Yield the folders of trainings that go on, or of those that were left."""
        for place in sorted(one for one in (self.folder / "runs").glob("*") if one.is_dir()):
            with contextlib.suppress(FileNotFoundError), (place / "lock").open("r+") as lock:  # it may end meanwhile
                if is_held(lock) == locked:
                    yield place

    def do_write(self, path: str, content: str, first: bool) -> None:
        """Write a part of a file below the folder."""
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb" if first else "ab") as file:
            file.write(base64.b64decode(content))

    def do_keep(self, path: str, sha256: str, place: str) -> bool:
        """Keep a file that has been sent, if it is whole."""
        digest = hashlib.sha256()
        with (self.folder / path).open("rb") as file:
            for part in iter(lambda: file.read(CHUNK_BYTES), b""):
                digest.update(part)
        if digest.hexdigest() == sha256:
            (self.folder / place).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).replace(self.folder / place)
        return digest.hexdigest() == sha256

    def do_has(self, path: str) -> bool:
        """Tell whether a file is there."""
        return (self.folder / path).is_file()

    def do_read(self, path: str, offset: int) -> str:
        """Return a part of a file."""
        with (self.folder / path).open("rb") as file:
            file.seek(offset)
            return base64.b64encode(file.read(CHUNK_BYTES)).decode()

    def do_run(self, command: list[str]) -> int:
        """Run a program whose input ends with this process, send its lines, and return its exit code."""
        with self.starting:
            self.process = subprocess.Popen(
                [command[0] or sys.executable, *command[1:]],
                cwd=self.run_folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        for line in lines_of(self.process):
            self.say(line=line.rstrip())
        code = self.process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # what it started, and left
        return code

    def do_look(self) -> dict[str, Any]:
        """Say what there is in a folder that has those of workspaces, or will have them; nothing is changed."""
        there = next(one for one in (self.folder, *self.folder.parents) if one.exists())
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            raise PermissionError(errno.EACCES, "Nothing can be written there", str(there))
        environments = list(self.folder.glob("*/environments/*/environment.json"))
        free_bytes = shutil.disk_usage(there).free
        return {"folder": str(self.folder), "free_bytes": free_bytes, "environments": len(environments)}

    def do_remove(self) -> bool:
        """Remove the folder with all that trainings made in it, unless one goes on."""
        if any(self.runs(locked=True)):
            return False
        if self.folder.is_dir():
            shutil.rmtree(self.folder)
            with contextlib.suppress(OSError):  # others have something there
                self.folder.parent.rmdir()
        return True


class Output(io.RawIOBase):
    """What a process prints until it ends, also where something that it leaves behind keeps its output open."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.place = process.stdout.fileno() if process.stdout else -1

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Wait for what comes next; nothing is the end."""
        while True:
            over = self.process.poll() is not None
            if select.select([self.place], [], [], 0 if over else LOOK_S)[0]:
                part = os.read(self.place, len(buffer))
                buffer[: len(part)] = part
                return len(part)
            if over:
                return 0


def lines_of(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Yield the lines that a process prints, as they come."""
    return io.TextIOWrapper(io.BufferedReader(Output(process)), errors="replace")


def is_held(lock: IO[str]) -> bool:
    """Tell whether another process holds a lock; else it is ours until its file is closed."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


if __name__ == "__main__":
    side = FarSide(Path.home() / Path(sys.argv[1]).expanduser(), float(sys.argv[2]), float(sys.argv[3]))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, side.end)
    side.serve()
