"""One release at a time in a workspace."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from lib.clock import now
from lib.errors import RefusedError


@contextlib.contextmanager
def locked(folder: Path, task: str) -> Iterator[None]:
    """Hold the workspace's lock. Raises RefusedError with its present holder, and since when."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as file:
        try:
            # The kernel's lock, not the file's existence: it is released even if the process is killed.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(f"{_holder(file.name)}\nWait for it to end, or stop it, and try again") from None
        except OSError as error:
            error.filename = str(folder)  # the kernel names no file
            raise
        file.truncate(0)
        file.write(json.dumps({"task": task, "pid": os.getpid(), "since": now()}))
        file.flush()
        yield


def _holder(path: str) -> str:
    try:
        holder = json.loads(Path(path).read_text())
        return f"`invoke {holder['task']}` (process {holder['pid']}) has used this workspace since {holder['since']}"
    except (ValueError, KeyError):  # read before the holder has written it
        return "another invoke uses this workspace"
