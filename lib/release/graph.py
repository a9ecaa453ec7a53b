"""The graph of a release: which steps are fresh, why the others are not, and how to update them."""

import itertools
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import msgspec

from lib.errors import NotFreshError, ReleaseError
from lib.release import chain
from lib.release.chain import Link
from lib.release.fingerprints import require_names, summarise
from lib.release.records import EvaluationRecord, FailureRecord, Record, redact
from lib.release.steps import STEPS
from lib.release.steps.step import AnyStep, Context

Kind = Literal["fresh", "stale", "missing", "held", "failed", "running", "done"]
NAMES = [step.name for step in STEPS]
Watch = Callable[["State"], None]


@dataclass(frozen=True)
class State:
    """The state of a step. A fresh one, or one that was just done, has the digest of its record."""

    step: str
    kind: Kind
    because: str = ""
    record: Record | None = None
    digest: str = ""
    seconds: float | None = None


class Walk:
    """One pass over the steps in order: the states so far, and what the platform said before the pass.

    `missing` is for the steps whose record is linked and whose inputs are unchanged.
    """

    def __init__(self, context: Context, links: Iterable[Link]) -> None:
        self.context = context
        self.states: list[State] = []
        self.missing = _ask_platform(context, links)

    @property
    def digest(self) -> str:
        """The digest of the last step's record, which the next record must name; empty before the first step."""
        return self.states[-1].digest if self.states else ""

    def examine(self, link: Link) -> State:
        """Return the state of the next step."""
        step, record = link.step, link.record
        if link.state == "broken":
            return State(step.name, "failed", link.trouble)
        if is_held_back(self.states):
            return State(step.name, "held", "the gate held the new model back")
        if record is None:
            return State(step.name, "missing", link.trouble)
        if because := self._because(step, record):
            return State(step.name, "stale", because, record)
        return State(step.name, "fresh", record=record, digest=link.digest)

    def _because(self, step: AnyStep, record: Record) -> str:
        """Return why a step is stale, an empty string if it is fresh. The cheapest checks come first."""
        before = self.states[-1] if self.states else None
        if before and before.kind not in ("fresh", "done"):
            changes = summarise(step.changes(self.context, record))
            return f"{before.step} is {before.kind}" + (f"; {changes}" if changes else "")
        if record.previous != self.digest:
            return chain.foreign(step)
        if step.name in self.missing:
            return self.missing[step.name]
        return summarise(step.changes(self.context, record)) or step.missing(self.context, record)


def status(context: Context) -> list[State]:
    """Return the state of every step. Changes nothing."""
    links, failure = chain.read(context.records), context.records.failure()
    walk = Walk(context, links)
    for link in links:
        state = walk.examine(link)
        if failure and failure.step == state.step and state.kind in ("stale", "missing"):
            because = f"{failure.message.splitlines()[0]} ({failure.failed_at})"
            state = State(state.step, "failed", because, state.record)
        walk.states.append(state)
    return walk.states


def plan(context: Context, target: str, only: bool = False, forced: Collection[str] = ()) -> list[State]:
    """Return the states that `update` would find: it would run every step that is neither fresh nor held.

    Changes nothing. Raises as `update` does for a step that must not run.
    """
    links = chain.read(context.records)[: NAMES.index(target) + 1]
    walk = Walk(context, itertools.takewhile(lambda link: link.step.name not in forced, links))
    for link in links:
        state, force = walk.examine(link), link.step.name in forced
        if state.kind != "held" and (state.kind != "fresh" or force):
            _require_allowed(link.step, state, only and link.step.name != target, force)
            state = State(state.step, "stale" if force else state.kind, "forced" if force else state.because)
        walk.states.append(state)
    return walk.states


def update(
    context: Context,
    target: str,
    only: bool = False,
    forced: Collection[str] = (),
    watch: Watch = lambda _state: None,
) -> list[State]:
    """Update a step and all steps before it, and return their states.

    With `only`, no other step runs: NotFreshError if an earlier step is not fresh. The `forced` steps run even if they
    are fresh. After a verdict to hold, no step runs.
    """
    require_names(context.settings.root, "model", "service")
    if NAMES.index(target) >= NAMES.index("image"):
        context.platform.images.require_builder()  # not found out after a long training
    for line in context.platform.warnings():
        context.tell(line)
    context.forks.environment.python()  # locked and built before any step asks for it
    links = chain.read(context.records)[: NAMES.index(target) + 1]
    walk = Walk(context, itertools.takewhile(lambda link: link.step.name not in forced, links))
    for link in links:
        state, force = walk.examine(link), link.step.name in forced
        if state.kind == "held" or (state.kind == "fresh" and not force):
            watch(state)
        else:
            _require_allowed(link.step, state, only and link.step.name != target, force)
            context.forks.warm()  # imports the packages on another core while the training runs
            state = _run(walk, link.step, state, force, watch)
        walk.states.append(state)
    return walk.states


def is_held_back(states: Iterable[State]) -> bool:
    """Return whether the gate held the new model back."""
    verdicts = [state.record.verdict for state in states if state.digest and isinstance(state.record, EvaluationRecord)]
    return any(verdict.holds for verdict in verdicts)


def _ask_platform(context: Context, links: Iterable[Link]) -> dict[str, str]:
    """Return, by step, what is missing of its result, up to the first stale step.

    The platform is asked for all steps in parallel: on Azure each question takes up to a second.
    """
    with ThreadPoolExecutor() as pool:
        answers = {step.name: pool.submit(step.missing, context, record) for step, record in _unchanged(context, links)}
        return {name: answer.result() for name, answer in answers.items()}


def _unchanged(context: Context, links: Iterable[Link]) -> Iterator[tuple[AnyStep, Record]]:
    for link in links:
        if not link.record or link.state != "linked" or link.step.changes(context, link.record):
            return
        yield link.step, link.record


def _require_allowed(step: AnyStep, state: State, only: bool, force: bool) -> None:
    """Raise if a step must not run."""
    if state.kind == "failed" and not force:
        raise ReleaseError(state.because)
    if only:
        remedy = f"Run `invoke {step.record.task}` first, or leave out --only"
        raise NotFreshError(f"{step.name} is {state.kind}: {state.because}\n{remedy}")


def _run(walk: Walk, step: AnyStep, state: State, forced: bool, watch: Watch) -> State:
    """Run a step and write its record. A failure is kept for `invoke status`."""
    context, records = walk.context, walk.context.records
    watch(State(step.name, "running", "forced" if forced else state.because))
    begin = time.monotonic()
    try:
        record: Record = step.run(context, step.inputs(context), walk.digest, forced)
        record = msgspec.structs.replace(record, commit=context.commit)
    except Exception as error:
        failure = FailureRecord(step=step.name, message=str(error) or type(error).__name__)
        records.write_failure(redact(failure, context.settings))
        raise
    digest = records.write(record)
    records.clear_failure()
    done = State(step.name, "done", state.because, record, digest, time.monotonic() - begin)
    watch(done)
    return done
