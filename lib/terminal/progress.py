"""The progress of a release, line by line."""

import os
import shutil
import sys
import time

from lib.release.graph import State

COLOURS = {"done": "32", "fresh": "2", "stale": "33", "missing": "33", "held": "35", "failed": "31", "running": "33"}
COLOURS |= {"ok": "32", "hint": "33", "fix": "31"}


def colour(text: str, kind: str) -> str:
    """Colour a word if the output is a terminal, unless its user wants none (https://no-color.org)."""
    return f"\033[{COLOURS[kind]}m{text}\033[0m" if _moves() and not os.environ.get("NO_COLOR") else text


def _moves() -> bool:
    """Return whether the output is a terminal that understands escape sequences."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


UPDATE_S = 10.0  # between two lines of a progress bar that cannot be updated in place


class Progress:
    """Prints each step's state and log. On a terminal, a step's result replaces the line that says it is running."""

    def __init__(self) -> None:
        self.live = _moves()
        self.running = ""
        self.updated = -UPDATE_S

    def watch(self, state: State) -> None:
        """Print a step's new state."""
        what = state.record.summary if state.record and state.kind in ("done", "fresh") else state.because
        word = {"done": "done", "fresh": "fresh", "held": "skipped: held"}.get(state.kind, "...")
        took = f" ({state.seconds:.1f} s)" if state.seconds is not None else ""
        detail = "" if state.kind == "held" else f"  {what}{took}"
        self._line(f"{state.step:<9} {colour(f'{word:<5}', state.kind)}{detail}", running=word == "...")

    def tell(self, line: str) -> None:
        """Print a line of a step's own log, above the line of the running step.

        A line that begins with a carriage return is an update of a progress bar: on a terminal it is shown in place of
        the running step until the next line, elsewhere it is printed now and then.
        """
        if line.startswith("\r"):
            self._update(f"          | {line[1:]}")
            return
        running = self.running
        self._line(f"          | {line}")
        if running:
            self._line(running, running=True)

    def _update(self, text: str) -> None:
        if self.live and self.running:
            print(f"\r\033[K{text[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)
        elif time.monotonic() - self.updated > UPDATE_S:
            self.updated = time.monotonic()
            self._line(text)

    def _line(self, text: str, running: bool = False) -> None:
        # On a terminal the line of a running step gets no line end, so that the next line can overwrite it.
        start = "\r\033[K" if self.running else ""
        end = "" if running and self.live else "\n"
        print(f"{start}{text}", end=end, flush=True)
        self.running = text if running and self.live else ""
