"""The release's graph: which step is fresh, why not, and how it is brought up to date. The Make in Make/Invoke."""

import itertools
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, cast

import msgspec

from lib.errors import NotFreshError, ReleaseError
from lib.release import chain
from lib.release.chain import Link
from lib.release.fingerprints import differences, told
from lib.release.records import EvaluationRecord, FailureRecord, Record, redacted
from lib.release.steps import STEPS
from lib.release.steps.step import Context, Step

Kind = Literal["fresh", "stale", "missing", "held", "failed", "running", "done"]
NAMES = [step.name for step in STEPS]
Watch = Callable[["State"], None]


@dataclass(frozen=True)
class State:
    """A step as it is now, or as it was just brought to be."""

    step: str
    kind: Kind
    because: str = ""
    record: Record | None = None
    seconds: float | None = None


def ignore(_state: State) -> None:
    """Watch nothing."""


def status(context: Context) -> list[State]:
    """Return the state of every step, changing nothing."""
    states: list[State] = []
    failure = context.records.failure()
    links = chain.read(context.records)
    verify(context, links)
    for link in links:
        step, state = link.step, examine(context, link, states[-1] if states else None)
        if failure and failure.step == step.name and state.kind in ("stale", "missing"):
            state = State(step.name, "failed", f"{failure.message.splitlines()[0]} ({failure.failed_at})", state.record)
        states.append(state)
    return states


def examine(context: Context, link: Link, before: State | None) -> State:
    """Find out whether a step is fresh, the cheapest checks first."""
    step, record, digest = link.step, link.record, link.digest
    if link.state == "broken":
        return State(step.name, "failed", link.trouble)
    if before and (held(context) or before.kind == "held"):
        return State(step.name, "held", "the gate held the new model back")
    if record is None:
        return State(step.name, "missing", link.trouble)
    because = reason(context, step, record, before)
    if because:
        return State(step.name, "stale", because, record)
    context.found[step.record] = (record, digest)
    return State(step.name, "fresh", record=record)


def reason(context: Context, step: Step, record: Record, before: State | None) -> str:
    """Say why a step is stale; an empty string where it is fresh."""
    if before and before.kind not in ("fresh", "done"):
        own = told(differences(record.inputs, step.inputs(context)))
        return f"{before.step} is {before.kind}" + (f"; {own}" if own else "")
    if record.previous != digest_before(context, step):
        return chain.foreign(step)
    if step.name in context.absences:  # verify() has found its inputs unchanged
        return context.absences[step.name]
    return told(differences(record.inputs, step.inputs(context))) or step.absent(context, record)


def verify(context: Context, links: Iterable[Link]) -> None:
    """Ask the platform, side by side, whether what the records tell of is there, up to the first that has changed."""
    with ThreadPoolExecutor() as pool:
        asked = {step.name: pool.submit(step.absent, context, record) for step, record in unchanged(context, links)}
        context.absences = {name: answer.result() for name, answer in asked.items()}


def unchanged(context: Context, links: Iterable[Link]) -> Iterator[tuple[Step, Record]]:
    """Yield the steps whose records are linked and whose inputs are today's, up to the first other one."""
    for link in links:
        if not link.record or link.state != "linked" or differences(link.record.inputs, link.step.inputs(context)):
            return
        yield link.step, link.record


def record_before(step: Step) -> type[Record]:
    """Return the kind of record that a step builds on."""
    return STEPS[max(STEPS.index(step) - 1, 0)].record


def digest_before(context: Context, step: Step) -> str:
    """Return the digest of the record that a step builds on, empty for the first."""
    return "" if step is STEPS[0] else context.found[record_before(step)][1]


def held(context: Context) -> bool:
    """Tell whether the gate held the new model back."""
    found = context.found.get(EvaluationRecord)
    return found is not None and cast(EvaluationRecord, found[0]).verdict.outcome == "hold"


def update(
    context: Context, target: str, only: bool = False, forced: Collection[str] = (), watch: Watch = ignore
) -> list[State]:
    """Bring a step and those that it needs up to date, and return the state of each.

    With `only` nothing else is run: NotFreshError where a needed step is not fresh. The `forced` steps run regardless.
    Steps after a verdict to hold stay as they are.
    """
    states: list[State] = []
    links = chain.read(context.records)[: NAMES.index(target) + 1]
    verify(context, itertools.takewhile(lambda link: link.step.name not in forced, links))
    for link in links:
        step = link.step
        force = step.name in forced
        state = examine(context, link, states[-1] if states else None)
        if state.kind == "held":
            states.append(state)
            watch(state)
            continue
        if state.kind != "fresh" or force:
            refuse(step, state, only and step.name != target, force)
            if target != STEPS[0].name:
                context.forks.warm()  # imports packages while the training runs
            state = run(context, step, state, force, watch)
        else:
            watch(state)
        states.append(state)
    return states


def refuse(step: Step, state: State, only: bool, force: bool) -> None:
    """Raise where a step may not run."""
    if state.kind == "failed" and not force:
        raise ReleaseError(state.because)
    if only:
        first = f"Run `invoke {step.record.task}` first, or leave out --only"
        raise NotFreshError(f"{step.name} is {state.kind}: {state.because}\n{first}")


def run(context: Context, step: Step, state: State, forced: bool, watch: Watch) -> State:
    """Run a step, write its record, and read it back. A failure is remembered for `status`."""
    watch(State(step.name, "running", "forced" if forced else state.because))
    begin = time.monotonic()
    context.forced = forced
    try:
        made = step.run(context, step.inputs(context), digest_before(context, step))
        record = msgspec.structs.replace(made, commit=context.commit)
    except Exception as error:
        failure = FailureRecord(step=step.name, message=str(error) or type(error).__name__)
        context.records.write_failure(redacted(failure, context.settings))
        raise
    context.found[step.record] = (cast(Any, record), context.records.write(record))
    context.records.clear_failure()
    done = State(step.name, "done", state.because, record, time.monotonic() - begin)
    watch(done)
    return done
