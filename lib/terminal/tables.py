"""What people see of a release on a terminal: tables, and the summary at its end."""

import json
import shutil
import sys
from collections.abc import Iterator
from typing import Any

from lib.platforms.base import Finding, Production
from lib.release.graph import State
from lib.release.records import AciRecord, AksRecord, EvaluationRecord, ModelRecord, Record
from lib.release.steps.step import Context
from lib.terminal.progress import coloured

BESIDE = len("aci_test   missing  ")  # what stands before the reason in a line


def status_table(states: list[State]) -> str:
    """Tell every step's state, and why."""
    from tabulate import tabulate

    rows = [[state.step, coloured(state.kind, state.kind), one_line(state)] for state in states]
    table = tabulate(rows, headers=["step", "state", "because"], tablefmt="simple")
    stale = next((state.step for state in states if state.kind in ("stale", "failed")), "")
    return f"{table}\n\nAll of it: `invoke why {stale}`" if stale else table


def one_line(state: State) -> str:
    """Tell why a step is as it is; on a terminal as much as its line has room for."""
    what = state.because or (state.record.summary if state.record else "")
    line = ". ".join(what.splitlines())
    room = shutil.get_terminal_size().columns - BESIDE if sys.stdout.isatty() else len(line)
    return line if len(line) <= room else line[: max(room, 1) - 1] + "…"


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
