"""Talk to the far side, the script that trains on another machine: requests, answers, and signs of life."""

import base64
import contextlib
import json
import shlex
import threading
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from fabric import Connection
from paramiko import Channel, SSHException

from lib.errors import ReleaseError
from lib.platforms.base import Tell
from lib.platforms.local.computes.ssh import connected
from lib.settings import Env

FAR_SIDE = Path(__file__).with_name("far_side.py")
BEATS = 6  # so many signs of life there are within the silence after which either side gives the other one up
CHUNK_BYTES = 1 << 19
NOT_FOUND, NO_CODE = 127, -1  # a shell's, and paramiko's, exit codes
# Reads our first line, and nothing more, without a buffer.
BOOT = (
    "import json, sys; "
    "sys.version_info < (3, 8) and sys.exit('it is %s, 3.8 or later is needed' % sys.version.split()[0]); "
    "first = json.loads(open(0, 'rb', 0, closefd=False).readline()); "
    "sys.argv[1:] = first['arguments']; "
    "exec(first['source'])"
)
# Whatever the user's shell is; where installers put programs for one user is on the PATH.
COMMAND = shlex.join(["sh", "-c", f"PATH=$PATH:$HOME/.local/bin; exec python3 -u -c {shlex.quote(BOOT)}"])


def untold(_line: str) -> None:
    """Tell nothing."""


class Remote:
    """One far side, which ends with its connection."""

    def __init__(self, connection: Connection, folder: str, silence_s: float) -> None:
        self.host, self.user = connection.host, connection.user
        self.silence_s, self.beat_s = silence_s, silence_s / BEATS
        self.channel = self.start(connection)
        self.received = self.noise = b""
        self.heard = self.said = time.monotonic()
        self.send(source=FAR_SIDE.read_text(), arguments=[folder, str(silence_s), str(self.beat_s)])
        self.hello()

    def start(self, connection: Connection) -> Channel:
        """Start the script there; paramiko itself would wait for ever. Raises ReleaseError where it does not start."""
        timer = threading.Timer(self.silence_s, connection.transport.close)
        timer.start()
        try:
            channel: Channel = connection.create_session()
            channel.exec_command(COMMAND)
        except (SSHException, EOFError) as error:
            why = f"nothing came for {self.silence_s:g} s" if timer.finished.is_set() else error
            raise ReleaseError(f"no session on {self.host}: {why}\nDoes `ssh` itself run a command there?") from None
        finally:
            timer.cancel()
        return channel

    def ask(self, do: str, tell: Tell = untold, limit_s: float = float("inf"), **arguments: Any) -> Any:
        """Ask for something, tell the lines that come of it, and return the answer.

        Raises TimeoutError after the limit, ReleaseError where that machine refuses or the connection is lost.
        """
        self.heard = time.monotonic()
        until = self.heard + limit_s
        self.send(do=do, **arguments)
        while True:
            message = self.message(until)
            if "line" in message:
                tell(message["line"])
            if "answer" in message:
                return message["answer"]
            if "error" in message:
                raise ReleaseError(f"{self.host}: {message['error']}\nFree space or rights there, then run it again")

    def send(self, **message: Any) -> None:
        """Send one message."""
        self.channel.settimeout(self.silence_s)
        try:
            self.channel.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise self.lost(str(error) or "it takes nothing more") from None
        self.said = time.monotonic()

    def message(self, until: float = float("inf")) -> dict[str, Any]:
        """Wait for a message and return it; what others print into the connection is none."""
        while b"\n" not in self.received:
            self.receive(until)
        line, _, self.received = self.received.partition(b"\n")
        with contextlib.suppress(ValueError, TypeError):
            return dict(json.loads(line))
        self.noise = line
        return {}

    def receive(self, until: float) -> None:
        """Take in what comes, and give signs of life meanwhile."""
        now = time.monotonic()
        if now > until:
            raise TimeoutError
        if now - self.said > self.beat_s:
            self.send()
        if now - self.heard > self.silence_s:
            raise self.lost(f"nothing came for {self.silence_s:g} s")
        self.channel.settimeout(max(0.01, min(self.beat_s, until - now)))
        try:
            part = self.channel.recv(CHUNK_BYTES)
        except TimeoutError:
            return
        if not part:
            raise self.lost(self.complaint() or "it was closed")
        self.heard = time.monotonic()
        self.received += part

    def lost(self, why: str) -> ReleaseError:
        """Return the error for a connection that has ended."""
        return ReleaseError(
            f"the connection to {self.host} was lost: {why}\n"
            f"What ran there ends by itself within {self.silence_s:g} s; then try again"
        )

    def complaint(self) -> str:
        """Return the last that the other end has said of its end."""
        said = self.channel.recv_stderr(CHUNK_BYTES) if self.channel.recv_stderr_ready() else self.noise
        return " ".join(said.decode(errors="replace").strip().splitlines()[-1:])

    def hello(self) -> None:
        """Wait until the far side is there. Raises ReleaseError where it does not come up."""
        try:
            while "hello" not in self.message():
                pass
        except ReleaseError as error:
            ended = self.channel.status_event.wait(self.beat_s)
            code = self.channel.recv_exit_status() if ended else NO_CODE
            if code == NOT_FOUND:
                raise ReleaseError(f"there is no python3 on {self.host}\nInstall Python 3.8 or later there") from None
            if code != NO_CODE:
                why = str(error).splitlines()[0].rpartition("was lost: ")[2]
                raise ReleaseError(f"python3 on {self.host} does not serve: {why}") from None
            raise

    # Files

    def upload(self, source: Path, path: str) -> None:
        """Write a file of any size there."""
        with source.open("rb") as file:
            first = True
            while (part := file.read(CHUNK_BYTES)) or first:
                self.ask("write", path=path, content=base64.b64encode(part).decode(), first=first)
                first = False

    def download(self, path: str, target: Path) -> None:
        """Read a file from there, if there is one."""
        if self.ask("has", path=path):
            with target.open("wb") as file:
                while part := self.part(path, file.tell()):
                    file.write(part)

    def part(self, path: str, offset: int) -> bytes:
        """Read a part of a file from there; an empty one at its end."""
        return base64.b64decode(self.ask("read", path=path, offset=offset))


@contextlib.contextmanager
def far_side(env: Env, workspace: str = "") -> Iterator[Remote]:
    """Give the far side on the machine of .env, in VM_FOLDER or a workspace's folder in it; it ends with the block."""
    with connected(env) as connection:
        remote = Remote(connection, str(PurePosixPath(env.vm_folder, workspace)), float(env.vm_silence_s))
        try:
            yield remote
        finally:
            remote.channel.close()
