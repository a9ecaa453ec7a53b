"""Talk to the far side, the script that trains on another machine: messages, files and heartbeats."""

import contextlib
import io
import json
import shlex
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from lib.environment import leased
from lib.environment.leased import Ended, Limited
from lib.errors import ReleaseError
from lib.platforms.base import Tell
from lib.platforms.local.computes import parts
from lib.platforms.local.computes.parts import append_part, read_parts
from lib.platforms.local.computes.ssh import FAILED, Connection, connected
from lib.settings import Env

SOURCES = (Path(leased.__file__), Path(parts.__file__), Path(__file__).with_name("far_side.py"))
BEATS = 6  # heartbeats within the silence after which each side gives up the other one
START_S = 30.0  # for the sign-in and the start of Python, besides the silence that is allowed
NOT_FOUND = 127  # a shell's exit code for a program that does not exist
# Reads our first line and nothing more: what follows is for the far side to read.
BOOT = (
    "import json, sys; "
    "sys.version_info < (3, 8) and sys.exit('it is %s, 3.8 or later is needed' % sys.version.split()[0]); "
    "first = json.loads(open(0, 'rb', 0, closefd=False).readline()); "
    "sys.argv[1:] = first['arguments']; "
    "[exec(source, globals()) for source in first['sources']]"
)
# sh, because the user's shell may be any; and a PATH with the folder into which installers put programs for one user.
COMMAND = shlex.join(["sh", "-c", f"PATH=$PATH:$HOME/.local/bin; exec python3 -u -c {shlex.quote(BOOT)}"])


class Remote:
    """One far side, which does one thing and ends with its connection."""

    def __init__(self, connection: Connection, silence_s: float) -> None:
        self.connection = connection
        self.host, self.user = connection.host, connection.user
        self.silence_s, self.beat_s = silence_s, silence_s / BEATS
        self.is_up = False
        self.noise = ""
        self.writing = threading.Lock()
        self.over = threading.Event()
        self.limited = Limited(connection.output.fileno(), START_S + silence_s)
        self.output = io.BufferedReader(self.limited)

    def begin(self, folder: str, do: str, **arguments: Any) -> None:
        """Start the far side. Raises ReleaseError if it does not start."""
        words = [folder, str(self.silence_s), str(self.beat_s), json.dumps({"do": do, **arguments})]
        self.send(sources=[path.read_text() for path in SOURCES], arguments=words)
        threading.Thread(target=self._beat, daemon=True).start()
        self.until("hello")
        self.is_up, self.limited.limit_s = True, self.silence_s

    def _beat(self) -> None:
        """Send heartbeats."""
        while not self.over.wait(self.beat_s):
            self.send()

    def send(self, **message: Any) -> bool:
        """Send one message, and return whether it was taken. If the connection has ended, whoever reads learns why."""
        timer = threading.Timer(self.silence_s, self.connection.process.kill)
        timer.start()
        try:
            with self.writing:
                self.connection.input.write(json.dumps(message).encode() + b"\n")
                self.connection.input.flush()
        except (BrokenPipeError, ValueError):  # ValueError: it is closed on this side
            return False
        finally:
            timer.cancel()
        return True

    def until(self, key: str, tell: Tell = lambda _line: None, files: Path | None = None) -> Any:
        """Wait for a message with the key and return its value; report lines and write files that come before.

        Raises ReleaseError if that machine refuses something, or the connection is lost.
        """
        while True:
            message = self._message()
            if "line" in message:
                tell(message["line"])
            if files and "file" in message:
                append_part(files / _inside(message["file"]), message["part"])
            if "error" in message:
                raise ReleaseError(f"{self.host}: {message['error']}\nFree space or rights there, then run it again")
            if key in message:
                return message[key]

    def ended(self, key: str, tell: Tell = lambda _line: None) -> Ended:
        """Wait until a script has ended, and return how."""
        return Ended(*self.until(key, tell))

    def _message(self) -> dict[str, Any]:
        """Wait for a message and return it; return an empty one for a line that a login script prints."""
        try:
            line = self.output.readline()
        except TimeoutError:
            raise self._lost(f"nothing came for {self.limited.limit_s:g} s") from None
        if not line:
            raise self._lost()
        with contextlib.suppress(ValueError, TypeError):
            return dict(json.loads(line))
        self.noise = line.decode(errors="replace").strip()
        return {}

    def _lost(self, why: str = "") -> ReleaseError:
        """Return the error for a connection that has ended, or a far side that did not start."""
        code = None if why else self.connection.exit_code()
        why = why or self.connection.last_words() or self.noise or "it was closed"
        if self.is_up:
            return ReleaseError(
                f"the connection to {self.host} was lost: {why}\n"
                f"The training there ends automatically within {self.silence_s:g} s; then try again"
            )
        if code == NOT_FOUND:
            return ReleaseError(f"there is no python3 on {self.host}\nInstall Python 3.8 or later there")
        if code in (None, FAILED):
            return self.connection.failure(why)
        return ReleaseError(f"python3 on {self.host} does not serve: {why}")

    def upload(self, files: Mapping[str, Path]) -> None:
        """Send files of any size under the names that they are mapped from."""
        for name, path in files.items():
            for part in read_parts(path):
                if not self.send(file=name, part=part):
                    return


def _inside(name: str) -> PurePosixPath:
    """Return the path of a file that stays below its folder, whatever the other machine sends."""
    return PurePosixPath(*(part for part in PurePosixPath(name).parts if part not in ("/", "..")))


@contextlib.contextmanager
def far_side(env: Env, do: str, workspace: str = "", confirmed: str = "", **arguments: Any) -> Iterator[Remote]:
    """Yield the far side on the machine of .env, in VM_FOLDER or a workspace's folder in it, until the block ends.

    A host key whose fingerprint is `confirmed` is added to the known hosts. Raises SettingsError, UnknownHostError,
    RefusedError for a key that has changed, ReleaseError.
    """
    with connected(env, COMMAND, confirmed) as connection:
        remote = Remote(connection, float(env.vm_silence_s))
        try:
            remote.begin(str(PurePosixPath(env.vm_folder, workspace)), do, **arguments)
            yield remote
        finally:
            remote.over.set()
