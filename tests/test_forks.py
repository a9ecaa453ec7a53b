"""Forks: each call runs in a separate process, and every way in which that process can end is reported."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lib.forks.client import CallError, Forks
from tests.support.ground import forks_of
from tests.support.project import ENVIRONMENTS, Project, eventually

pytestmark = pytest.mark.quick

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
def wait_with(channel, note): wait(note)
"""
ASKING = """
import sys
from pathlib import Path
from lib.environment.model import ModelEnvironment
from lib.forks.client import Forks
from model.calls import wait
root, environments, note = map(Path, sys.argv[1:])
Forks(root, Path("killed.log"), ModelEnvironment(root, environments, print)).call(wait, note=str(note))
"""


def function(name: str) -> Any:
    """Return a function whose name is `module:name`, as an import of a module of the project would."""

    def stub(**_: Any) -> Any: ...

    stub.__module__, stub.__qualname__ = name.split(":")
    return stub


def ended(process: int) -> bool:
    """Tell whether a process has ended; one that only waits for its parent to notice has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    root = tmp_path_factory.mktemp("forks")
    Project(root)
    (root / "model" / "calls.py").write_text(CALLS)
    (root / "model" / "train.py").write_text(TRAIN)
    (root / "model" / "helper.py").write_text("raise SystemError('nobody may import this ahead of time')\n")
    (root / "model" / "half.py").write_text("import this is not Python")
    (root / "service" / "score.py").write_text("from wave import Wave_read\n")
    with forks_of(root, root / "log.txt") as forks:
        yield forks


def test_a_call_returns_json_and_has_a_process_of_its_own(forks: Forks) -> None:
    first, second = (forks.call(function("model.calls:add"), values=[1, 2.5]) for _ in range(2))
    assert first["sum"] == second["sum"] == 3.5
    assert first["process"] != second["process"]


def test_large_arguments_arrive_whole(forks: Forks) -> None:
    assert forks.call(function("model.calls:add"), values=[1] * 500_000)["sum"] == 500_000


def test_packages_of_the_model_and_the_service_are_imported_ahead_and_their_own_modules_are_not(
    forks: Forks,
) -> None:
    assert forks.call(function("model.calls:loaded"), name="colorsys")
    assert forks.call(function("model.calls:loaded"), name="wave")
    assert not forks.call(function("model.calls:loaded"), name="train")
    assert not forks.call(function("model.calls:loaded"), name="score")


@pytest.mark.parametrize("name", ["mailbox", "sched"])
def test_what_a_function_imports_is_not_imported_ahead(forks: Forks, name: str) -> None:
    assert forks.call(function("model.calls:loaded"), name="wave")
    assert not forks.call(function("model.calls:loaded"), name=name)


def test_the_server_is_imported_ahead_when_nothing_else_is_to_do(forks: Forks) -> None:
    eventually(lambda: forks.call(function("model.calls:loaded"), name="gunicorn.arbiter"))


def test_an_exception_is_a_call_error_with_file_and_line(forks: Forks) -> None:
    line = CALLS.splitlines().index('def fail(): raise ValueError("no good")') + 1
    with pytest.raises(CallError, match=rf"^ValueError: no good \(calls\.py, line {line}\)\n.*log\.txt"):
        forks.call(function("model.calls:fail"))
    assert "Traceback" in forks.log.read_text()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.calls:die", "ended without a result"),
        ("model.calls:leave", "left early"),
        ("model.calls:strange", "JSON"),
        ("model.calls:missing", "missing"),
        ("model.half:any", "SyntaxError"),
        ("no_such_module:any", "no_such_module"),
    ],
)
def test_every_end_without_a_result_is_a_call_error_and_the_next_call_works(forks: Forks, name: str, said: str) -> None:
    with pytest.raises(CallError, match=said):
        forks.call(function(name))
    assert forks.call(function("model.calls:add"), values=[1])["sum"] == 1


def test_a_call_that_takes_longer_than_its_limit_is_a_call_error_and_its_process_ends(
    forks: Forks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = tmp_path / "note"
    monkeypatch.setattr(forks, "limit_s", 0.5)
    with pytest.raises(CallError, match=r"0\.5 s"):
        forks.call(function("model.calls:wait"), note=str(note))
    eventually(lambda: ended(int(note.read_text())))


def test_a_fork_ends_when_the_process_that_called_is_killed(forks: Forks, tmp_path: Path) -> None:
    note = tmp_path / "note"
    with subprocess.Popen([sys.executable, "-c", ASKING, forks.root, ENVIRONMENTS, note], cwd=forks.root) as asking:
        with contextlib.suppress(OSError):
            eventually(lambda: note.exists() and note.read_text())
        asking.kill()
    eventually(lambda: ended(int(note.read_text())))


def test_called_code_sees_no_keys(tmp_path: Path, forks: Forks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCORING_KEY_PRIMARY", "k" * 32)
    with forks_of(forks.root, tmp_path / "log.txt") as other:
        assert other.call(function("model.calls:secrets")) == []


def test_a_process_that_has_died_is_a_call_error(tmp_path: Path, forks: Forks) -> None:
    with forks_of(forks.root, tmp_path / "log.txt") as other:
        other.warm()
        note = tmp_path / "note"
        with contextlib.closing(
            other.spawn(function("model.calls:wait_with"), tmp_path / "log.txt", {}, note=str(note))
        ):
            eventually(lambda: note.exists() and note.read_text())
            parent = int(Path(f"/proc/{note.read_text()}/stat").read_text().rsplit(")", 1)[1].split()[1])
        subprocess.run(["kill", "-9", str(parent)], check=True)
        for _ in range(2):
            with pytest.raises(CallError, match=r"log\.txt"):
                other.call(function("model.calls:add"), values=[1])
