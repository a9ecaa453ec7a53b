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
def held(folder: Path, task: str) -> Iterator[None]:
    """Hold the workspace's lock. The system lets go of it when the process ends, however it ends.

    Raises RefusedError that says who holds it and since when.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(f"{holder(file.name)}\nWait for it to end, or stop it, and try again") from None
        file.truncate(0)
        file.write(json.dumps({"task": task, "pid": os.getpid(), "since": now()}))
        file.flush()
        yield


def holder(path: str) -> str:
    """Say who holds the lock, as far as its file tells."""
    try:
        found = json.loads(Path(path).read_text())
        return f"`invoke {found['task']}` (process {found['pid']}) works in this workspace since {found['since']}"
    except (ValueError, KeyError):
        return "another invoke works in this workspace"
