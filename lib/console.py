"""What the tasks share: a context to work in, errors as exit codes, other programs."""

import contextlib
import errno
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context as Invoke
from invoke.exceptions import Exit

if TYPE_CHECKING:
    from lib.release.steps.step import Context

ROOT = Path(__file__).resolve().parents[1]
# Errors of the file system that a user can fix; any other OSError is a bug, and keeps its traceback.
FIXABLE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM}
WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # what flock says in some network folders


@contextlib.contextmanager
def reporting_errors(afterwards: str = "the next `invoke release` continues from here") -> Iterator[None]:
    """Turn errors that a user can fix into a few lines and an exit code. A bug keeps its traceback.

    `afterwards` tells the user how to continue after Ctrl-C.
    """
    from lib.errors import INTERRUPTED, ReleaseError
    from lib.terminal import ci
    from lib.terminal.output import until_closed

    try:
        with until_closed(), ci.guarded():
            yield
    except ReleaseError as error:
        raise failure(f"Error: {error}", error.exit_code) from None
    except KeyboardInterrupt:
        raise failure(f"Interrupted: {afterwards}", INTERRUPTED) from None
    except OSError as error:
        if error.errno in WITHOUT_LOCKS:
            raise failure(
                f"Error: {error.strerror}: {error.filename or 'while locking a file'}\n"
                "A workspace needs a file system with locks, which some network folders lack\n"
                "Put it on a local disk: LOCAL_WORKSPACE=/path in .env",
                1,
            ) from None
        if error.errno not in FIXABLE:
            raise
        raise failure(
            f"Error: {error.strerror}: {error.filename or 'while writing'}\n"
            "Free some space or fix the permissions, then run it again: nothing is lost",
            1,
        ) from None


def failure(message: str, exit_code: int) -> Exit:
    """Report a failure to the CI system, and return the exception that ends the task."""
    from lib.terminal import ci

    return Exit(ci.failed(message, exit_code), exit_code)


@contextlib.contextmanager
def release_context(
    locked_by: str | None = None,
    on: str = "",
    tell: Callable[[str], None] = lambda _line: None,
    dirty: bool = False,
    warn: Callable[[str], None] | None = None,
) -> Iterator["Context"]:
    """Yield a Context, and turn errors into exit codes; see open_context."""
    with reporting_errors(), open_context(locked_by, on, tell, dirty, warn) as context:
        yield context


@contextlib.contextmanager
def open_context(
    locked_by: str | None = None,
    on: str = "",
    tell: Callable[[str], None] = lambda _line: None,
    dirty: bool = False,
    warn: Callable[[str], None] | None = None,
) -> Iterator["Context"]:
    """Yield a Context; with `locked_by`, the name of a task, hold the workspace's lock meanwhile.

    `on` overrides train.compute; `tell` gets the lines of a step's log; `dirty` allows production to be deployed
    from uncommitted files. With `warn`, earlier settings are used if today's cannot be read, and `warn` gets a warning.
    """
    from lib import platforms, settings
    from lib.environment.model import ModelEnvironment
    from lib.forks.client import Forks
    from lib.release import lock
    from lib.release.records import Records
    from lib.release.steps.step import Context
    from lib.settings import emergency
    from lib.terminal import prompts

    with contextlib.ExitStack() as stack:
        if warn:
            loaded, warning = emergency.load_or_last(ROOT)
            if warning:
                warn(warning)
        else:
            loaded, warning = settings.load(ROOT), ""
        if on:
            loaded = loaded.training_on(on)
        if locked_by:
            stack.enter_context(lock.locked(loaded.folder, locked_by))
            if not warning:
                emergency.keep(loaded)
        environment = ModelEnvironment(ROOT, loaded.environments, _print_line)
        forks = stack.enter_context(Forks(ROOT, loaded.records / "interpreter.log", environment, loaded.private))
        platform = platforms.connect(loaded, forks)
        stack.callback(platform.close)
        if locked_by:
            stack.enter_context(platform.locked(locked_by))
        redact = loaded.redact
        stack.enter_context(_redacting_errors(redact))
        yield Context(
            loaded,
            platform,
            Records(loaded.records),
            forks,
            lambda line: tell(redact(line)),
            prompts.ask,
            dirty,
        )


@contextlib.contextmanager
def _redacting_errors(redact: Callable[[str], str]) -> Iterator[None]:
    """Take secrets out of errors: their text may come from any program."""
    from lib.errors import ReleaseError

    try:
        yield
    except ReleaseError as error:
        error.args = (redact(str(error)),)
        raise


def warn(line: str) -> None:
    """Print a warning, on the stream of errors: standard output may be JSON."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def bring(invoke: Invoke, target: str, only: bool, force: bool, on: str = "", dirty: bool = False) -> None:
    """Update one step and the steps that it needs, and print the progress."""
    from lib.release import graph
    from lib.terminal import ci, dry
    from lib.terminal.progress import Progress

    if is_dry(invoke):
        with release_context(on=on) as context:
            dry.show(context, target, only, [target] if force else [])
        return
    progress = Progress()
    with release_context(target, on, progress.tell, dirty) as context:
        states = graph.update(context, target, only, [target] if force else [], progress.watch)
        ci.current().output("held", "true" if graph.is_held_back(states) else "false")


def is_dry(invoke: Invoke) -> bool:
    """Return whether --dry is among the flags: then a task changes nothing, and prints what it would do."""
    return bool(invoke.config.run.dry)


def run(invoke: Invoke, *command: str) -> None:
    """Run a program in the project's folder, wherever invoke was called, and exit with its exit code."""
    with invoke.cd(str(ROOT)):
        invoke.run(shlex.join(command), pty=sys.stdout.isatty())


def one_of(value: str, values: list[str]) -> str:
    """Return a flag's value. Raises SettingsError if it is not one of the possible values."""
    from lib.errors import SettingsError

    if value not in values:
        with reporting_errors():
            raise SettingsError(f"unknown value {value}: choose one of {', '.join(values)}")
    return value
