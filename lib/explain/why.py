"""Why a step is as it is: every file, setting, record and result that makes it stale, or that keeps it fresh."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec

from lib.errors import ReleaseError, SettingsError
from lib.git import origins
from lib.release import graph
from lib.release.fingerprints import Change, Fingerprint, differences
from lib.release.records import Record, task_of
from lib.release.steps import STEPS
from lib.release.steps.step import Context, Step


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """One step. `reasons` are all that make it stale beside its changed files and settings; `origins` says of changed
    files which commits changed them; `inputs` is what it depends on now. A record that is not whole has to be put
    right by hand.
    """

    step: str
    state: graph.Kind
    because: str
    record: str
    whole: bool = True
    made_at: str = ""
    commit: str = ""
    summary: str = ""
    reasons: list[str] = []
    changes: list[Change] = []
    origins: dict[str, list[str]] = {}
    inputs: Fingerprint = {}


def explain(context: Context, target: str) -> list[Explanation]:
    """Explain a step and those that it needs, in order. Raises SettingsError for an unknown step."""
    if target not in graph.NAMES:
        raise SettingsError(f"step {target} is unknown, known are {', '.join(graph.NAMES)}")
    states = {state.step: state for state in graph.status(context)}
    with ThreadPoolExecutor() as pool:  # each may ask the platform
        return list(pool.map(lambda step: explain_one(context, step, states[step.name]), graph.until(target)))


def explain_one(context: Context, step: Step, state: graph.State) -> Explanation:
    """Find everything that there is to say of one step, whatever the steps before it are."""
    (record, _, whole), inputs = read(context, step), step.inputs(context)
    filename = step.record.filename
    plain = Explanation(
        step=step.name, state=state.kind, because=state.because, record=filename, whole=whole, inputs=inputs
    )
    if record is None:
        return plain
    changes = differences(record.inputs, inputs)
    return msgspec.structs.replace(
        plain,
        made_at=record.created_at,
        commit=record.commit,
        summary=record.summary,
        reasons=list(reasons(context, step, record)),
        changes=changes,
        origins=origins(context.settings.root, record.commit, [change.name for change in changes if change.of_file]),
    )


def reasons(context: Context, step: Step, record: Record) -> Iterator[str]:
    """Yield what is wrong with a record beside its inputs: the one before it is another, or its result is gone."""
    before = digest_before(context, step)
    if record.previous != before:
        yield graph.foreign(step) if before else f"{graph.record_before(step).filename} is missing or not whole"
    elif absent := step.absent(context, record):
        yield absent


def read(context: Context, step: Step) -> tuple[Record | None, str, bool]:
    """Read a step's record: the record and its digest, if there is one, and whether what is there is whole."""
    try:
        found = context.records.read(step.record, task_of(step.name))
    except ReleaseError:
        return None, "", False
    return (*found, True) if found else (None, "", True)


def digest_before(context: Context, step: Step) -> str:
    """Return the digest of the record before as it is now, empty for the first step and where there is none."""
    position = STEPS.index(step)
    return read(context, STEPS[position - 1])[1] if position else ""


def to_run(explained: list[Explanation]) -> list[str]:
    """Return the steps that the task of the last one would run, up to one whose record is not whole."""
    stale = itertools.dropwhile(lambda one: one.state in ("fresh", "held"), explained)
    return [one.step for one in itertools.takewhile(lambda one: one.whole and one.state != "held", stale)]
