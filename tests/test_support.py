"""A fork of a warm process (tests/support/warm.py) behaves like a new process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import invocation, warm
from tests.support.project import eventually

pytestmark = [
    pytest.mark.quick,
    pytest.mark.skipif(not warm.POSSIBLE, reason="processes are forked on Linux only"),
]
SCRIPT = """
import json, os, signal, sys, threading, time
from pathlib import Path
print("to stderr", file=sys.stderr, flush=True)
seen = {
    "argv": sys.argv,
    "name": __name__,
    "path": sys.path,
    "folder": os.getcwd(),
    "environment": dict(os.environ),
    "home": str(Path.home()),
    "zone": time.tzname,
    "signals": [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
    "session": os.getsid(0),
    "group": os.getpgid(0),
    "descriptors": sorted(os.listdir("/proc/self/fd"))[:3] + [str(len(os.listdir("/proc/self/fd")))],
    "input": sys.stdin.read(),
    "output": [sys.stdout.encoding, sys.stdout.line_buffering, sys.stdout.isatty()],
    "threads": threading.active_count(),
    "bytecode": sys.dont_write_bytecode,
    "mask": os.umask(0o22),
    "ours": sorted(name for name in sys.modules if name.partition(".")[0] in ("lib", "tasks", "tests")),
}
print(json.dumps(seen))
"""
END = """
import atexit, os, sys, threading
atexit.register(print, "at exit")
threading.Thread(target=lambda: (threading.main_thread().join(), print("a thread"))).start()
{end}
"""


def both(arguments: list[str], folder: Path, **environment: str) -> list[tuple[int | None, str]]:
    """Run Python twice, forked and anew, and return the exit code and the output of each."""
    env = dict(os.environ) | environment
    with invocation.start(arguments, folder, env, invocation.LOCAL) as forked:
        assert isinstance(forked, warm.Process)
        output, _ = forked.communicate(timeout=60)
    new = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=env,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return [(forked.returncode, output), (new.returncode, new.stdout)]


@pytest.mark.parametrize("arguments", [["-m", "script", "--a", "b"], ["script.py", "--a", "b"]])
def test_a_fork_has_what_a_new_process_has(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "home").mkdir()
    seen: list[dict[str, Any]] = []
    for code, output in both(arguments, tmp_path, HOME=str(tmp_path / "home"), TZ="UTC+3", MORE="yes"):
        assert code == 0, output
        first, last = output.splitlines()
        assert first == "to stderr"
        seen.append(json.loads(last))
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("sys.exit(3)", 3),
        ("sys.exit('a reason')", 1),
        ("1 / 0", 1),
        ("os._exit(4)", 4),
        ("os.abort()", -signal.SIGABRT),
    ],
)
def test_a_fork_ends_as_a_new_process_does(end: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(END.format(end=end))
    for ended, said in both(["script.py"], tmp_path):
        assert ended == code
        at_once = end.startswith("os.")
        assert [line in said for line in ("a thread\n", "at exit\n")] == [not at_once] * 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_reaches_a_fork(number: int, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("print('here', flush=True)\nimport threading\nthreading.Event().wait()\n")
    with invocation.start(["script.py"], tmp_path, dict(os.environ), invocation.LOCAL) as process:
        assert process.stdout
        assert process.stdout.readline() == "here\n"
        process.send_signal(number)
        process.communicate(timeout=60)
        assert process.returncode == -number


def test_what_is_leashed_ends_with_the_python_that_forked_it(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import threading\nthreading.Event().wait()\n")
    python = warm.Python([])
    with (tmp_path / "log").open("wb") as log:
        pid, status = python.start(["script.py"], tmp_path, dict(os.environ), log.fileno(), leashed=True)
    assert os.getsid(pid) == pid
    python.close()
    status.close()
    eventually(lambda: not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes(), 60)
