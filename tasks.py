"""The tasks. `invoke --list` shows them, `invoke --help TASK` explains one."""

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context as Invoke
from invoke.exceptions import Exit
from invoke.tasks import task

if TYPE_CHECKING:
    from lib.steps.context import Context

ROOT = Path(__file__).resolve().parent
STEP_HELP = {
    "force": "run it even if it is fresh",
    "only": "run nothing else: exit 3 if a step that it needs is not fresh",
}
EXPECTED = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM}


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Turn what a user can put right into a few lines and an exit code; a bug keeps its traceback."""
    from lib.errors import INTERRUPTED, ReleaseError

    try:
        yield
    except ReleaseError as error:
        raise Exit(f"Error: {error}", error.exit_code) from None
    except KeyboardInterrupt:
        raise Exit("Interrupted: the next `invoke release` goes on from here", INTERRUPTED) from None
    except sqlite3.OperationalError as error:
        raise Exit(f"Error: the workspace's database: {error}\nIs the disk full, or the folder not yours?", 1) from None
    except OSError as error:
        if error.errno not in EXPECTED:
            raise
        raise Exit(
            f"Error: {error.strerror}: {error.filename or 'while writing'}\n"
            "Free space or rights, then run it again: nothing is lost",
            1,
        ) from None


@contextlib.contextmanager
def release_context(locked_by: str | None = None, warm: bool = False) -> Iterator["Context"]:
    """Give what the steps work with; a task that changes something holds the workspace's lock."""
    from lib import interpreter, lock, platforms, settings
    from lib.records import Records
    from lib.report import Progress
    from lib.steps.context import Context

    with reported(), contextlib.ExitStack() as stack:
        loaded = settings.load(ROOT)
        if locked_by:
            stack.enter_context(lock.held(loaded.folder, locked_by))
        warmed = stack.enter_context(interpreter.opened(ROOT, loaded.records / "interpreter.log"))
        platform = platforms.connect(loaded, warmed)
        yield Context(loaded, platform, Records(loaded.records), warmed, Progress().tell)


def bring(target: str, only: bool, force: bool) -> None:
    """Bring one step up to date and tell how it went."""
    from lib import graph, report

    with release_context(locked_by=target) as context:
        graph.update(context, target, only, force, report.Progress().watch)


@task(help=STEP_HELP)
def train(_: Invoke, only: bool = False, force: bool = False) -> None:
    """Run model/train.py and record the run."""
    bring("train", only, force)


@task(help=STEP_HELP)
def evaluate(_: Invoke, only: bool = False, force: bool = False) -> None:
    """Compare the new model with the one in production and let the gate decide."""
    bring("evaluate", only, force)


@task(help=STEP_HELP)
def register(_: Invoke, only: bool = False, force: bool = False) -> None:
    """Register the model, with what it was made of."""
    bring("register", only, force)


@task(help=STEP_HELP)
def image(_: Invoke, only: bool = False, force: bool = False) -> None:
    """Build the scoring image and try it."""
    bring("image", only, force)


@task(help=STEP_HELP)
def aci(_: Invoke, only: bool = False, force: bool = False) -> None:
    """Deploy the image to the staging service."""
    bring("aci", only, force)


@task(help=STEP_HELP)
def aks(_: Invoke, only: bool = False, force: bool = False) -> None:
    """Deploy the image to the production service, without losing a request."""
    bring("aks", only, force)


@task(help=STEP_HELP | {"service": "aci for the staging service, aks for the production service"})
def test(_: Invoke, service: str = "aks", only: bool = False, force: bool = False) -> None:
    """Test a deployed service over HTTP; a passed test of aks moves the production pointer."""
    bring("aci_test" if service == "aci" else "test", only, force)


@task(help={"force": "run every step, fresh or not"})
def release(_: Invoke, force: bool = False) -> None:
    """Bring everything up to date, from training to the tested production service."""
    from lib import graph, report

    with release_context(locked_by="release") as context:
        states = graph.update(context, "test", watch=report.Progress().watch)
        print()
        print(report.summary(context, states))


@task(help={"format": "table, or json for machines"})
def status(_: Invoke, format: str = "table") -> None:
    """Show every step as fresh, stale, missing, held or failed, and why."""
    from lib import graph, report

    with release_context() as context:
        states = graph.status(context)
        print(report.status_json(states) if format == "json" else report.status_table(states))


@task
def history(_: Invoke) -> None:
    """Show what was in production when, and on what evidence."""
    from lib import report

    with release_context() as context:
        print(report.history_table(context.platform.history()))
