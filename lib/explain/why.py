"""`invoke why`: everything that makes a step stale, or that a fresh step depends on."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec

from lib.errors import SettingsError
from lib.git import DIRTY, origins
from lib.release import chain, graph
from lib.release.chain import Link
from lib.release.fingerprints import FILE, SHORT, Change, Fingerprint
from lib.release.records import Record
from lib.release.steps import STEPS
from lib.release.steps.step import Context
from lib.terminal.progress import colour

INDENT = " " * 10  # the width of a step's name


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why one step is in its state.

    `reasons` are causes other than changed files and settings, which are in `changes`; `origins` has the commits that
    changed each file. `inputs` are today's. If the record is not `readable`, only --force replaces it.
    """

    step: str
    state: graph.Kind
    because: str
    record: str
    readable: bool = msgspec.field(default=True, name="whole")  # the name in the JSON output
    made_at: str = ""
    commit: str = ""
    summary: str = ""
    reasons: list[str] = []
    changes: list[Change] = []
    origins: dict[str, list[str]] = {}
    inputs: Fingerprint = {}


def explain(context: Context, target: str) -> list[Explanation]:
    """Explain a step and all steps before it, in order. Raises SettingsError if there is no such step."""
    if target not in graph.NAMES:
        raise SettingsError(f"unknown step {target}: choose one of {', '.join(graph.NAMES)}")
    states, links = graph.status(context), chain.read(context.records)
    count = graph.NAMES.index(target) + 1
    with ThreadPoolExecutor() as pool:  # each step may have to ask the platform, which takes seconds on Azure
        return list(pool.map(lambda *step: _explain_step(context, *step), links[:count], states[:count]))


def as_json(steps: list[Explanation]) -> str:
    """Return the explanation of the last step, and of the steps before it, as JSON."""
    target = steps[-1]
    content = {
        "step": target.step,
        "state": target.state,
        "because": target.because,
        "runs": _steps_to_run(steps),
        "steps": steps,
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()


def as_text(steps: list[Explanation]) -> str:
    """Return the explanation of the last step as text: the causes, then the steps that would run."""
    target = steps[-1]
    lines = [f"{target.step} is {colour(target.state, target.state)}", ""]
    if target.state == "fresh":
        return "\n".join([*lines, *_dependencies(target, steps)])
    for step in steps:
        if step.state != "fresh" or (step.step == "evaluate" and target.state == "held"):
            lines += _block(step)
    return "\n".join([*lines, "", _outlook(steps)]).rstrip()


def _explain_step(context: Context, link: Link, state: graph.State) -> Explanation:
    # Unlike the graph, which stops at the first reason, this looks at every step, whatever the steps before it are.
    step, record, inputs = link.step, link.record, link.step.inputs(context)
    explanation = Explanation(
        step=step.name,
        state=state.kind,
        because=state.because,
        record=step.record.filename,
        readable=link.state != "broken",
        inputs=inputs,
    )
    if record is None:
        return explanation
    changes = step.changes(context, record)
    return msgspec.structs.replace(
        explanation,
        made_at=record.created_at,
        commit=record.commit,
        summary=record.summary,
        reasons=list(_reasons(context, link, record)),
        changes=changes,
        origins=origins(context.settings.root, record.commit, [change.name for change in changes if change.of_file]),
    )


def _reasons(context: Context, link: Link, record: Record) -> Iterator[str]:
    if link.state == "foreign":
        yield link.trouble
    elif missing := link.step.missing(context, record):
        yield missing


def _steps_to_run(steps: list[Explanation]) -> list[str]:
    """Return the steps that the last one's task would run; it stops at a record that cannot be read."""
    stale = itertools.dropwhile(lambda step: step.state in ("fresh", "held"), steps)
    return [step.step for step in itertools.takewhile(lambda step: step.readable and step.state != "held", stale)]


def _block(step: Explanation) -> list[str]:
    causes = [*step.reasons, *(line for change in step.changes for line in _change(change, step))]
    head = [] if causes and step.state == "stale" else (step.because or step.summary).splitlines()
    lines = [*head, *causes, *([_record_line(step)] if step.made_at and causes else [])]
    return [f"{step.step:<9} {lines[0]}", *(INDENT + line for line in lines[1:])]


def _change(change: Change, step: Explanation) -> Iterator[str]:
    yield str(change)
    yield from (f"  {origin}" for origin in step.origins.get(change.name, []))


def _record_line(step: Explanation) -> str:
    if not step.commit:
        return f"{step.record} was written {step.made_at}"
    dirty = " with uncommitted changes" if step.commit.endswith(DIRTY) else ""
    return f"{step.record} was written {step.made_at} from commit {step.commit.removesuffix(DIRTY)[:SHORT]}{dirty}"


def _dependencies(target: Explanation, steps: list[Explanation]) -> Iterator[str]:
    yield target.summary
    yield _record_line(target)
    yield ""
    yield "It depends on"
    width = max(map(len, target.inputs), default=0)
    yield from (f"  {name:<{width}}  {_short(value)}" for name, value in target.inputs.items())
    if len(steps) > 1:
        yield f"  {steps[-2].record} of {steps[-2].step}, which is fresh"
    yield "  its result, which exists (checked just now)"


def _short(value: str) -> str:
    return f"sha256 {value.removeprefix(FILE)[:SHORT]}" if value.startswith(FILE) else value


def _outlook(steps: list[Explanation]) -> str:
    names = _steps_to_run(steps)
    damaged = next((step for step in steps if not step.readable), None)
    if not names and damaged:
        return ""  # the step's own lines say how to replace its record
    if not names:
        return "Nothing would run: the gate holds the model. To continue, change the model or the gate"
    gated = names[names.index("evaluate") + 1 :] if "evaluate" in names else []
    certain = ", ".join(names[: len(names) - len(gated)])
    rest = f"; then, unless the gate holds the model, {', '.join(gated)}" if gated else ""
    end = f"; and stop at {damaged.record}" if damaged else ""
    task = STEPS[len(steps) - 1].record.task
    return f"`invoke {task}` would run {certain}{rest}{end}"
