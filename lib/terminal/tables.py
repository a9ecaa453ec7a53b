"""Tables of a release for the terminal, and the summary at its end."""

import json
import shutil
import sys
import textwrap
from collections.abc import Iterator

from lib.files import disk_usage
from lib.platforms.base import Finding, Production
from lib.release.graph import State
from lib.release.records import AciRecord, AksRecord, EvaluationRecord, ModelRecord
from lib.release.steps.step import Context
from lib.settings import Settings
from lib.terminal.progress import colour

MEGABYTE = 1 << 20
WIDTH = 79
COLUMNS_BEFORE_REASON = len("aci_test   missing  ")


def status_table(states: list[State]) -> str:
    """Return a table of every step's state, and the reason."""
    from tabulate import tabulate

    rows = [[state.step, colour(state.kind, state.kind), _reason(state)] for state in states]
    table = tabulate(rows, headers=["step", "state", "because"], tablefmt="simple")
    stale = next((state.step for state in states if state.kind in ("stale", "failed")), "")
    return f"{table}\n\nAll reasons: `invoke why {stale}`" if stale else table


def workspace_line(settings: Settings) -> str:
    """Return how much of the disk the workspace takes; models' environments are counted separately."""
    size = disk_usage(settings.folder, without=("environments", "wheels"))
    folder = settings.folder
    name = folder.relative_to(settings.root) if folder.is_relative_to(settings.root) else folder
    return f"Workspace: {size / MEGABYTE:.1f} MB in {name}, without environments"


def status_json(states: list[State]) -> str:
    """Return every step's state as JSON."""
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
    """Return a table of the versions that were in production, with the evidence below each."""
    from tabulate import tabulate

    if not history:
        return "Nothing was in production yet"
    rows = [[entry.since, entry.version, entry.image[:12]] for entry in history]
    table, lines = tabulate(rows, headers=["since", "version", "image"], tablefmt="simple").splitlines(), []
    for entry, line in zip(history, table[2:], strict=True):
        lines += [line, *_indented(entry.evidence.get("verdict", "")), *_indented(entry.evidence.get("test", ""))]
    return "\n".join([*table[:2], *lines])


def findings(checks: Iterator[Finding]) -> list[Finding]:
    """Print each finding as soon as its check has run, with its fix; return those that must be fixed."""
    problems = []
    for finding in checks:
        advice = finding.fix or finding.hint
        state = colour(f"{finding.state:<5}", finding.state)
        print(f"{state} {finding.what}{': ' if advice else ''}{advice}", flush=True)
        problems += [finding] if finding.fix else []
    return problems


def findings_json(checks: Iterator[Finding]) -> list[Finding]:
    """Print all findings as JSON; return those that must be fixed."""
    results = list(checks)
    content = [{"state": item.state, "what": item.what, "fix": item.fix, "hint": item.hint} for item in results]
    print(json.dumps(content, indent=2))
    return [finding for finding in results if finding.fix]


def summary(context: Context, states: list[State]) -> str:
    """Return the end of a release's output: the verdict, the versions, the addresses, and how to call them."""
    if all(state.kind == "fresh" for state in states):
        return "Nothing to do: every step is fresh\n" + _addresses(context)
    verdict = context.records.get(EvaluationRecord).verdict
    lines = [f"Verdict   {verdict.outcome}: {'; '.join(verdict.reasons)}"]
    if verdict.interval:
        low, high = verdict.interval
        lines.append(f"          improvement in {verdict.metric}, 95 % interval: {low:.6g} to {high:.6g}")
    return "\n".join([*lines, _held_back(context) if states[-1].kind == "held" else _served(context)])


def _indented(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ")


def _reason(state: State) -> str:
    text = state.because or (state.record.summary if state.record else "")
    line = ". ".join(text.splitlines())
    # A table whose lines wrap cannot be read; `invoke why` has the full text, and pipes get it, too.
    room = shutil.get_terminal_size().columns - COLUMNS_BEFORE_REASON if sys.stdout.isatty() else len(line)
    return line if len(line) <= room else line[: max(room, 1) - 1] + "…"


def _held_back(context: Context) -> str:
    production = context.platform.models.production()
    still = f"version {production.version} stays in production" if production else "nothing is in production"
    return f"Held      {still}; nothing was registered or deployed"


def _served(context: Context) -> str:
    model = context.records.get(ModelRecord)
    return f"Model     {model.name} version {model.version}\n{_addresses(context)}"


def _addresses(context: Context) -> str:
    services = (("Staging", context.records.get(AciRecord)), ("Service", context.records.get(AksRecord)))
    lines = [f"{name:<9} {record.summary}" for name, record in services]
    return "\n".join([*lines, "Call it   invoke score FILE  (keys: invoke keys)"])
