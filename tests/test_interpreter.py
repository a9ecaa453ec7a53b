"""The warm interpreter: what it calls has a process of its own, and every end of that is told."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.forks.client import CallError, Interpreter
from tests.project import Project, eventually

TRAIN = """
from typing import TYPE_CHECKING

import colorsys
import helper
import no_such_package

if TYPE_CHECKING:
    import sched


def late():
    import mailbox
"""
CALLS = """
import os, signal, sys, threading

def add(**numbers): return {"sum": sum(numbers["values"]), "process": os.getpid()}
def loaded(name): return name in sys.modules
def fail(): raise ValueError("no good")
def die(): os.kill(os.getpid(), signal.SIGKILL)
def leave(): sys.exit("left early")
def strange(): return {1, 2}
def secrets(): return [name for name in os.environ if name.startswith("SCORING_KEY")]
def wait(note):
    with open(note, "w") as file: file.write(str(os.getpid()))
    threading.Event().wait()
"""
ASKING = """
import sys
from pathlib import Path
from lib.forks.client import Interpreter
Interpreter(Path(sys.argv[1]), Path("killed.log")).call("model.calls:wait", note=sys.argv[2])
"""


def ended(process: int) -> bool:
    """Tell whether a process has ended; one that only waits for its parent to notice has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interpreter]:
    root = tmp_path_factory.mktemp("interpreter")
    Project(root)
    (root / "model" / "calls.py").write_text(CALLS)
    (root / "model" / "train.py").write_text(TRAIN)
    (root / "model" / "helper.py").write_text("raise SystemError('nobody may import this ahead of time')\n")
    (root / "model" / "half.py").write_text("import this is not Python")
    (root / "service" / "score.py").write_text("from wave import Wave_read\n")
    made = Interpreter(root, root / "log.txt")
    yield made
    made.close()


def test_a_call_returns_json_and_has_a_process_of_its_own(interpreter: Interpreter) -> None:
    first, second = (interpreter.call("model.calls:add", values=[1, 2.5]) for _ in range(2))
    assert first["sum"] == second["sum"] == 3.5
    assert first["process"] != second["process"]


def test_large_arguments_arrive_whole(interpreter: Interpreter) -> None:
    assert interpreter.call("model.calls:add", values=[1] * 500_000)["sum"] == 500_000


def test_packages_of_the_model_and_the_service_are_imported_ahead_and_their_own_modules_are_not(
    interpreter: Interpreter,
) -> None:
    assert interpreter.call("model.calls:loaded", name="colorsys")
    assert interpreter.call("model.calls:loaded", name="wave")
    assert not interpreter.call("model.calls:loaded", name="train")
    assert not interpreter.call("model.calls:loaded", name="score")


@pytest.mark.parametrize("name", ["mailbox", "sched"])
def test_what_a_function_imports_is_not_imported_ahead(interpreter: Interpreter, name: str) -> None:
    assert interpreter.call("model.calls:loaded", name="wave")
    assert not interpreter.call("model.calls:loaded", name=name)


def test_the_server_is_imported_ahead_when_nothing_else_is_to_do(interpreter: Interpreter) -> None:
    eventually(lambda: interpreter.call("model.calls:loaded", name="gunicorn.arbiter"))


def test_an_exception_is_a_call_error_with_file_and_line(interpreter: Interpreter) -> None:
    line = CALLS.splitlines().index('def fail(): raise ValueError("no good")') + 1
    with pytest.raises(CallError, match=rf"^ValueError: no good \(calls\.py, line {line}\)\n.*log\.txt"):
        interpreter.call("model.calls:fail")
    assert "Traceback" in interpreter.log.read_text()


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("model.calls:die", "ended without an answer"),
        ("model.calls:leave", "left early"),
        ("model.calls:strange", "JSON"),
        ("model.calls:missing", "missing"),
        ("model.half:any", "SyntaxError"),
        ("no_such_module:any", "no_such_module"),
    ],
)
def test_every_end_without_a_result_is_a_call_error_and_the_next_call_works(
    interpreter: Interpreter, function: str, said: str
) -> None:
    with pytest.raises(CallError, match=said):
        interpreter.call(function)
    assert interpreter.call("model.calls:add", values=[1])["sum"] == 1


def test_a_call_that_takes_longer_than_its_limit_is_a_call_error_and_its_process_ends(
    interpreter: Interpreter, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    with pytest.raises(CallError, match=r"0\.5"):
        interpreter.call("model.calls:wait", limit_s=0.5, note=str(note))
    eventually(lambda: ended(int(note.read_text())))


def test_a_fork_ends_when_the_process_that_called_is_killed(interpreter: Interpreter, tmp_path: Path) -> None:
    note = tmp_path / "note"
    with subprocess.Popen([sys.executable, "-c", ASKING, interpreter.root, note], cwd=interpreter.root) as asking:
        with contextlib.suppress(OSError):
            eventually(lambda: note.exists() and note.read_text())
        asking.kill()
    eventually(lambda: ended(int(note.read_text())))


def test_called_code_sees_no_keys(tmp_path: Path, interpreter: Interpreter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCORING_KEY_PRIMARY", "k" * 32)
    with contextlib.closing(Interpreter(interpreter.root, tmp_path / "log.txt")) as other:
        assert other.call("model.calls:secrets") == []


def test_an_interpreter_that_has_died_is_a_call_error(tmp_path: Path, interpreter: Interpreter) -> None:
    with contextlib.closing(Interpreter(interpreter.root, tmp_path / "log.txt")) as other:
        other.start()
        note = tmp_path / "note"
        with contextlib.closing(other.spawn("model.calls:wait", tmp_path / "log.txt", {}, note=str(note))):
            eventually(lambda: note.exists() and note.read_text())
            parent = int(Path(f"/proc/{note.read_text()}/stat").read_text().rsplit(")", 1)[1].split()[1])
        subprocess.run(["kill", "-9", str(parent)], check=True)
        for _ in range(2):
            with pytest.raises(CallError, match=r"log\.txt"):
                other.call("model.calls:add", values=[1])
