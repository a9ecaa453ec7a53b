"""Run model/train.py, and other scripts, in a process of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from lib.errors import ReleaseError
from lib.forks.client import environ_without_secrets
from lib.platforms.base import Plain, Tell
from lib.platforms.local.computes.far_side import lines_of

# Ends the training, and what it started, when the release that waits for it is gone. A training that has come to its
# end is not taken apart module by module, which takes a quarter of its time.
LEASED = """
import atexit, os, runpy, signal, sys, threading
def end():
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=end, daemon=True).start()
del sys.argv[0]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
for thread in threading.enumerate():
    if thread is not threading.current_thread() and not thread.daemon:
        thread.join()
atexit._run_exitfuncs()
sys.stdout.flush()
sys.stderr.flush()
os._exit(0)
"""


class Ended(Plain, frozen=True):
    """How a script ended: its exit code, the last line that it printed, and whether it was ended for its lateness."""

    code: int
    last: str
    late: bool


def train(
    script: Path, arguments: list[str], folder: Path, limit_s: float, tell: Tell, python: str = sys.executable
) -> None:
    """Run the script in a folder, where it writes outputs/ and its output goes to log.txt.

    Raises ReleaseError with the last line of the log where it fails, or takes longer than the limit.
    """
    log = folder / "log.txt"
    check(script.name, run_leased(python, script, arguments, folder, log, limit_s, tell), limit_s, log)


def check(name: str, ended: Ended, limit_s: float, log: Path) -> None:
    """Raise ReleaseError where a training did not end as it should."""
    if ended.late:
        raise ReleaseError(f"{name} took longer than train.timeout_s = {limit_s:g}\nThe log is {log}")
    if ended.code:
        raise ReleaseError(f"{name} failed with exit code {ended.code}: {ended.last}\nThe log is {log}")


def run_leased(
    python: str, script: Path, arguments: list[str], folder: Path, log: Path, limit_s: float, tell: Tell
) -> Ended:
    """Run a script that ends with this process, however that ends; write and tell its output line by line."""
    process = subprocess.Popen(
        [python, "-u", "-c", LEASED, str(script), *arguments],
        cwd=folder,
        env=environ_without_secrets(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    late = threading.Event()

    def end() -> None:
        late.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(limit_s, end)
    timer.start()
    with process:
        try:
            last = follow(process, log, tell)
        finally:
            timer.cancel()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it started, and left
    return Ended(code=process.returncode, last=last, late=late.is_set())


def follow(process: "subprocess.Popen[bytes]", log: Path, tell: Tell) -> str:
    """Write and tell each line until the process ends; return the last one that is not blank."""
    last = ""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        for line in lines_of(process):
            file.write(line)
            file.flush()
            tell(line.rstrip())
            last = line.strip() or last
    process.wait()
    return last
