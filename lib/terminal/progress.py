"""Lines as a release goes."""

import sys

from lib.release.graph import State

COLOURS = {"done": "32", "fresh": "2", "stale": "33", "missing": "33", "held": "35", "failed": "31", "running": "33"}
COLOURS |= {"ok": "32", "hint": "33", "fix": "31"}


def coloured(text: str, kind: str) -> str:
    """Colour a word on a terminal."""
    return f"\033[{COLOURS[kind]}m{text}\033[0m" if sys.stdout.isatty() else text


class Progress:
    """Tells a release step by step. On a terminal the line of a running step is replaced by its result."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty()
        self.running = ""

    def watch(self, state: State) -> None:
        """Tell a state as it comes."""
        what = state.record.summary if state.record and state.kind in ("done", "fresh") else state.because
        word = {"done": "done", "fresh": "fresh", "held": "skipped: held"}.get(state.kind, "...")
        took = f" ({state.seconds:.1f} s)" if state.seconds is not None else ""
        shown = "" if state.kind == "held" else f"  {what}{took}"
        self.line(f"{state.step:<9} {coloured(f'{word:<5}', state.kind)}{shown}", running=word == "...")

    def tell(self, line: str) -> None:
        """Tell a line of a step's own log."""
        running = self.running
        self.line(f"          | {line}")
        if running:
            self.line(running, running=True)

    def line(self, text: str, running: bool = False) -> None:
        """Print a line; on a terminal that of a running step stays open until the next one takes its place."""
        start = "\r\033[K" if self.running else ""
        end = "" if running and self.live else "\n"
        print(f"{start}{text}", end=end, flush=True)
        self.running = text if running and self.live else ""
