"""Run model/train.py in a process of its own."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from lib.errors import ReleaseError
from lib.interpreter import environment
from lib.platforms.base import Tell

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


def train(script: Path, arguments: list[str], folder: Path, limit_s: float, tell: Tell) -> None:
    """Run the script in a folder, where it writes outputs/ and its output goes to log.txt.

    Raises ReleaseError with the last line of the log where it fails, or takes longer than the limit.
    """
    log = folder / "log.txt"
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", LEASED, str(script), *arguments],
        cwd=folder,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
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
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    if late.is_set():
        raise ReleaseError(f"{script.name} took longer than train.timeout_s = {limit_s:g}\nThe log is {log}")
    if process.returncode:
        raise ReleaseError(f"{script.name} failed with exit code {process.returncode}: {last}\nThe log is {log}")


def follow(process: "subprocess.Popen[str]", log: Path, tell: Tell) -> str:
    """Write and tell each line until the process ends; return the last one that is not blank."""
    last = ""
    with log.open("w") as file:
        for line in process.stdout or []:
            file.write(line)
            file.flush()
            tell(line.rstrip())
            last = line.strip() or last
    process.wait()
    return last
