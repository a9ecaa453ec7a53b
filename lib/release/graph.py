"""The release's graph: which step is fresh, why not, and how it is brought up to date. The Make in Make/Invoke."""

import itertools
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, cast

import msgspec

from lib.errors import NotFreshError, ReleaseError
from lib.release.fingerprints import differences, told
from lib.release.records import EvaluationRecord, FailureRecord, Record, redacted, task_of
from lib.release.steps import STEPS
from lib.release.steps.step import Context, Step
from lib.release.steps.test import restore

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
    verify(context, STEPS)
    for step in STEPS:
        state = examine(context, step, states[-1] if states else None)
        if failure and failure.step == step.name and state.kind in ("stale", "missing"):
            state = State(step.name, "failed", f"{failure.message.splitlines()[0]} ({failure.failed_at})", state.record)
        states.append(state)
    return states


def examine(context: Context, step: Step, before: State | None) -> State:
    """Find out whether a step is fresh, the cheapest checks first."""
    try:
        found = context.records.read(step.record, task_of(step.name))
    except ReleaseError as error:
        return State(step.name, "failed", str(error))
    if before and (held(context) or before.kind == "held"):
        return State(step.name, "held", "the gate held the new model back")
    if found is None:
        return State(step.name, "missing", f"no {step.record.filename} yet")
    record, digest = found
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
        return foreign(step)
    if step.name in context.absences:  # verify() has found its inputs unchanged
        return context.absences[step.name]
    return told(differences(record.inputs, step.inputs(context))) or step.absent(context, record)


def foreign(step: Step) -> str:
    """Say that a step's record was built on another one than the one that is there."""
    return f"{step.record.filename} does not belong to this {record_before(step).filename}"


def verify(context: Context, steps: Collection[Step]) -> None:
    """Ask the platform, side by side, whether what the records tell of is there, up to the first that has changed."""
    with ThreadPoolExecutor() as pool:
        asked = {step.name: pool.submit(step.absent, context, record) for step, record in unchanged(context, steps)}
        context.absences = {name: answer.result() for name, answer in asked.items()}


def unchanged(context: Context, steps: Collection[Step]) -> Iterator[tuple[Step, Record]]:
    """Yield the steps whose records belong together and whose inputs are today's, up to the first other one."""
    previous = ""
    for step in steps:
        try:
            found = context.records.read(step.record, task_of(step.name))
        except ReleaseError:
            return  # examine() tells of it
        if not found or found[0].previous != previous or differences(found[0].inputs, step.inputs(context)):
            return
        yield step, found[0]
        previous = found[1]


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
    verify(context, list(itertools.takewhile(lambda step: step.name not in forced, until(target))))
    for step in until(target):
        force = step.name in forced
        state = examine(context, step, states[-1] if states else None)
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
        first = f"Run `invoke {task_of(step.name)}` first, or leave out --only"
        raise NotFreshError(f"{step.name} is {state.kind}: {state.because}\n{first}")


def until(target: str) -> Iterator[Step]:
    """Yield the steps up to one."""
    for step in STEPS:
        yield step
        if step.name == target:
            return


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


def revive(context: Context) -> Iterator[str]:
    """Start a dead production service again where nothing new may go out, and yield what was done."""
    production = context.platform.models.production()
    service = context.platform.services.find(context.settings.release.services.aks)
    if production and (service is None or service.trouble):
        yield f"{restore(context)}: {service.trouble if service else 'it was gone'}"
