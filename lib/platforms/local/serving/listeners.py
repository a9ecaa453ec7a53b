"""Which process listens on a port: a replica of this clone, one of another clone, or another program."""

import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
LISTENING = "0A"
REPLICA = "lib.forks.server"
STOP_LIMIT_S = 60.0
POLL_S = 0.05
CONNECT_LIMIT_S = 0.5  # a connection to this machine takes much less
REDIRECTED = "a rule of the firewall sends its connections elsewhere, perhaps of a container engine that was killed"


class Listener(NamedTuple):
    """A process that listens on a port: its id, its command, and the folder that it works in (may be deleted)."""

    pid: int
    command: str
    folder: str

    @property
    def is_replica(self) -> bool:
        """Whether it is a replica of a service, of this clone or another one."""
        return REPLICA in self.command

    def is_of(self, root: Path) -> bool:
        """Return whether it is a replica that nobody but this clone can stop: its own, or one of a deleted clone."""
        return self.is_replica and (self.folder == str(root.resolve()) or not Path(self.folder).is_dir())

    def describe(self) -> str:
        """Return who it is, for people."""
        if self.is_replica:
            return f"a service started from {self.folder} (process {self.pid})"
        name = Path(self.command.split(" ")[0]).name or "a program of another user"
        return f"{name} (process {self.pid}, in {self.folder})" if self.pid else name


def is_busy(port: int) -> bool:
    """Return whether anything listens on a port."""
    return _connect(port) == 0


def is_redirected(port: int) -> bool:
    """Return whether a rule of the firewall sends connections to a port elsewhere, and nothing answers.

    A container engine that was killed leaves such rules behind.
    """
    return _connect(port) not in (0, errno.ECONNREFUSED)


def _connect(port: int) -> int:
    """Return the number of a connection's error, or 0. Without a limit, a rule that drops it would take minutes."""
    with socket.socket() as probe:
        probe.settimeout(CONNECT_LIMIT_S)
        return probe.connect_ex(("127.0.0.1", port))


def find(port: int) -> Listener | None:
    """Return the process that listens on a port; None if nothing does. Its id is 0 if it belongs to another user."""
    if not is_busy(port):
        return None
    pids = sorted(_pids_from_proc(port) if PROC.is_dir() else _pids_from_lsof(port))
    if not pids:
        return Listener(0, "", "")
    # Workers share the socket of the process that started them, which leads their session.
    leader = next((pid for pid in pids if _session(pid) == pid), pids[0])
    return Listener(leader, _command(leader), _folder(leader))


def stop(port: int, root: Path) -> bool:
    """Stop the replica on a port if it is this clone's, and return whether the port is free then."""
    listener = find(port)
    if listener is None or not listener.is_of(root):
        return listener is None
    with contextlib.suppress(ProcessLookupError):
        os.kill(listener.pid, signal.SIGTERM)  # gunicorn finishes its current requests
    end = time.monotonic() + STOP_LIMIT_S
    while is_busy(port) and time.monotonic() < end:
        time.sleep(POLL_S)
    return not is_busy(port)


def _pids_from_proc(port: int) -> Iterator[int]:
    """Yield the processes with an open socket that listens on a port. Those of other users cannot be seen."""
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in ((PROC / "net" / name).read_text().splitlines()[1:] if (PROC / "net" / name).exists() else [])
    ]
    sockets = {f"socket:[{line[9]}]" for line in lines if line[1].endswith(f":{port:04X}") and line[3] == LISTENING}
    for process in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(str(entry.readlink()) in sockets for entry in (process / "fd").iterdir()):
                yield int(process.name)


def _pids_from_lsof(port: int) -> Iterator[int]:
    """Yield the same where there is no /proc, as on macOS."""
    if shutil.which("lsof"):
        command = ["lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-t"]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        yield from map(int, process.stdout.split())


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        if PROC.is_dir():
            return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        command = ["ps", "-o", "command=", "-p", str(pid)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return ""


def _folder(pid: int) -> str:
    with contextlib.suppress(OSError):
        return str((PROC / str(pid) / "cwd").readlink())
    return "an unknown folder"
