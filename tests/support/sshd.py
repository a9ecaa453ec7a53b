"""A machine reached by SSH: a real sshd on 127.0.0.1 with a separate home folder."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.machine import missing, needed
from tests.support.project import eventually, free_port

# There, `python3` is the version that the tests run with, whatever the system's is.
PATH = f"{sys.base_prefix}/bin:{os.environ['PATH']}"
CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM no
PidFile {folder}/sshd.pid
PermitRootLogin yes
PasswordAuthentication yes
Subsystem sftp internal-sftp
SetEnv HOME={home} PATH={path} {variables}
{more}
"""


class Machine:
    """An sshd, what is in its home, and what runs there."""

    def __init__(self, folder: Path, variables: str = "", path: str = "", more: str = "") -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self.port = free_port()
        self.key = folder / "key"
        for key in (self.key, folder / "host_key"):
            make_key(key)
        shutil.copy(f"{self.key}.pub", folder / "authorized_keys")
        self.configure(variables, path or PATH, more)

    def configure(self, variables: str, path: str, more: str) -> None:
        """Write its settings: the environment of a session, and further lines."""
        places = {"port": self.port, "folder": self.folder, "home": self.home}
        text = CONFIG.format(**places, path=path, variables=variables, more=more)
        (self.folder / "sshd_config").write_text(text)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        program = needed("sshd")
        with contextlib.suppress(PermissionError):
            Path("/run/sshd").mkdir(exist_ok=True)
        if not Path("/run/sshd").is_dir():
            missing("/run/sshd is not there, and only root may make it")
        log = self.folder / "sshd.log"
        subprocess.run([program, "-f", self.folder / "sshd_config", "-E", log], check=True)
        eventually(self.answers, 10)

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return (self.folder / "sshd.pid").exists()
        return False

    @property
    def server(self) -> int:
        return int((self.folder / "sshd.pid").read_text())

    def sessions(self) -> list[int]:
        """Return sshd's own processes of connections that are open."""
        return [one for one in children(self.server) if Path(f"/proc/{one}/comm").read_text().startswith("sshd")]

    def signal(self, number: int) -> None:
        """Send a signal to sshd's processes of open connections, not to what they started."""
        for process in self.sessions():
            os.kill(process, number)

    def programs(self) -> list[int]:
        """Return the processes that sessions run, without sshd's own."""
        return sorted(set(children(self.server)) - set(self.sessions()))

    def stop(self) -> None:
        """Stop it, with all connections."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            sessions, server = self.sessions(), self.server
            for process in (server, *sessions):
                os.kill(process, signal.SIGKILL)
            (self.folder / "sshd.pid").unlink()
            eventually(lambda: not Path(f"/proc/{server}").exists(), 10)

    def trust(self, known_hosts: Path) -> None:
        """Let a file of known hosts know it."""
        kind, key = (self.folder / "host_key.pub").read_text().split()[:2]
        known_hosts.write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")

    def settings(self, known_hosts: Path) -> dict[str, str]:
        """Return what leads a release here."""
        return {
            "VM_HOST": "127.0.0.1",
            "VM_SSH_PORT": str(self.port),
            "VM_SSH_KEY_FILE": str(self.key),
            "VM_KNOWN_HOSTS": str(known_hosts),
        }

    def processes(self) -> list[str]:
        """Return the commands that run in its home."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (process / "cwd").readlink().is_relative_to(self.home):
                    found.append((process / "cmdline").read_text().replace("\0", " "))
        return found

    @property
    def folder_of_releases(self) -> Path:
        return self.home / ".invoke-release"

    def runs(self) -> list[str]:
        """Return the folders of trainings."""
        return [path.name for path in self.folder_of_releases.glob("*/runs/*") if path.is_dir()]

    def idle(self) -> bool:
        """Return whether nothing of a training remains."""
        return not self.processes() and not self.runs()


def make_key(path: Path, passphrase: str = "") -> None:
    """Make a pair of keys."""
    command: list[str | Path] = [needed("ssh-keygen"), "-q", "-t", "ed25519", "-N", passphrase, "-f", path]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def children(process: int) -> list[int]:
    """Return the processes below one."""
    found = []
    for thread in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, thread.read_text().split()):
            found += [child, *children(child)]
    return found


@contextlib.contextmanager
def machine(folder: Path, variables: str = "", path: str = "", more: str = "") -> Iterator[Machine]:
    """Yield a machine that runs."""
    machine = Machine(folder, variables, path, more)
    machine.start()
    try:
        yield machine
    finally:
        machine.stop()
