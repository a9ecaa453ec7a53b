"""What people see of a release: lines as it goes, tables, and the summary at its end."""

import json
import sys
from collections.abc import Iterator
from typing import Any

from lib.graph import State
from lib.platforms.base import Finding, Production
from lib.records import AciRecord, AksRecord, EvaluationRecord, ModelRecord, Record
from lib.steps.context import Context

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


def status_table(states: list[State]) -> str:
    """Tell every step's state, and why."""
    from tabulate import tabulate

    rows = [
        [state.step, coloured(state.kind, state.kind), state.because or (state.record.summary if state.record else "")]
        for state in states
    ]
    return tabulate(rows, headers=["step", "state", "because"], tablefmt="simple", maxcolwidths=[None, None, 90])


def status_json(states: list[State]) -> str:
    """Tell every step's state for machines."""
    return json.dumps(
        [
            {
                "step": state.step,
                "state": state.kind,
                "because": state.because,
                "summary": state.record.summary if state.record else None,
            }
            for state in states
        ],
        indent=2,
    )


def history_table(history: list[Production]) -> str:
    """Tell what was in production when, and on what evidence."""
    from tabulate import tabulate

    if not history:
        return "Nothing was in production yet"
    rows = [
        [one.since, one.version, one.image[:12], one.evidence.get("verdict", ""), one.evidence.get("test", "")]
        for one in history
    ]
    return tabulate(
        rows,
        headers=["since", "version", "image", "verdict", "test"],
        tablefmt="simple",
        maxcolwidths=[None, None, None, 50, 40],
    )


def findings(found: Iterator[Finding]) -> list[Finding]:
    """Tell what was looked at, as it comes, and how what is wrong is put right; return those that are wrong."""
    wrong = []
    for one in found:
        advice = one.fix or one.hint
        print(f"{coloured(f'{one.state:<5}', one.state)} {one.what}{': ' if advice else ''}{advice}", flush=True)
        wrong += [one] if one.fix else []
    return wrong


def findings_json(found: Iterator[Finding]) -> list[Finding]:
    """Tell the same for machines."""
    known = list(found)
    print(
        json.dumps(
            [{"state": one.state, "what": one.what, "fix": one.fix, "hint": one.hint} for one in known], indent=2
        )
    )
    return [one for one in known if one.fix]


def summary(context: Context, states: list[State]) -> str:
    """Close a release: the verdict, the versions, the addresses, and how to call them."""
    if all(state.kind == "fresh" for state in states):
        return "Nothing to do: every step is fresh\n" + address(context)
    verdict = context.get(EvaluationRecord).verdict
    lines = [f"Verdict   {verdict.outcome}: {'; '.join(verdict.reasons)}"]
    if verdict.interval:
        low, high = verdict.interval
        lines.append(f"          improvement in {verdict.metric}, 95 % interval: {low:.6g} to {high:.6g}")
    return "\n".join([*lines, held_summary(context) if states[-1].kind == "held" else served_summary(context)])


def held_summary(context: Context) -> str:
    """Say what goes on serving while a new model is held back."""
    production = context.platform.production()
    still = f"version {production.version} stays in production" if production else "nothing is in production"
    return f"Held      {still}; nothing was registered or deployed"


def served_summary(context: Context) -> str:
    """Say what serves where."""
    model = context.get(ModelRecord)
    return f"Model     {model.name} version {model.version}\n{address(context)}"


def address(context: Context) -> str:
    """Say where the services are, and how to call them."""
    kinds: list[tuple[str, type[Record]]] = [("Staging", AciRecord), ("Service", AksRecord)]
    lines = [f"{name:<9} {service_uri(context.found[kind][0])}" for name, kind in kinds if kind in context.found]
    return "\n".join([*lines, "Call it   invoke score FILE  (keys: invoke keys)"]) if lines else ""


def service_uri(record: Any) -> str:
    """Say where a service is and what it serves."""
    return f"{record.scoring_uri} serves version {record.model_version}"
