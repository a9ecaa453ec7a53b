"""Why code of the owner failed: from the error that it raised, or from the log of a process that crashed."""

import re
import traceback
from pathlib import Path

OWN = ("model", "service", "_model")  # the last in images
# What Python's faulthandler writes into the log when a process crashes, or hangs for longer than its limit.
CRASH = re.compile(r"^(?:Fatal Python error: (?P<crash>.+)|Timeout \((?P<limit>.+)\)!)$", re.MULTILINE)
WORKER_LIMIT = "WORKER TIMEOUT"  # gunicorn aborts a worker that does not answer
FRAME = re.compile(r'^  File "(?P<file>.+)", line (?P<line>\d+) in (?P<function>.+)$', re.MULTILINE)


def describe(error: BaseException) -> str:
    """Return what was raised, and where in the owner's files.

    A server that ends because score.py failed raises its own error from that of score.py. So the first error in the
    chain that has a line in the owner's files is described, or else the first of all.
    """
    while not _own_frames(error) and (cause := _cause(error)):
        error = cause
    frames = _own_frames(error)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


def crash(log: str) -> str:
    """Return how a process ended that could not report it itself, and where, from its log; empty if that is unknown."""
    crashes = list(CRASH.finditer(log))
    if not crashes:
        return ""
    frames = list(FRAME.finditer(log, crashes[-1].end()))
    frame = next((frame for frame in frames if Path(frame["file"]).parent.name in OWN), next(iter(frames), None))
    where = f" ({Path(frame['file']).name}, line {frame['line']})" if frame else ""
    limit, how = crashes[-1]["limit"], crashes[-1]["crash"]
    if how == "Aborted" and WORKER_LIMIT in log:
        return f"it hung{where}"
    return f"it hung for {limit}{where}" if limit else f"it crashed: {how}{where}"


def crash_in(log: Path) -> str:
    """Return what `crash` finds in a file."""
    return crash(log.read_text(errors="replace")) if log.is_file() else ""


def _cause(error: BaseException) -> BaseException | None:
    return error.__cause__ if error.__suppress_context__ else error.__context__


def _own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the frames of an error that are in the owner's files."""
    frames = traceback.extract_tb(error.__traceback__)
    return [frame for frame in frames if Path(frame.filename).parent.name in OWN]
