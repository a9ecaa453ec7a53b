"""The words and numbers of a report, the same in HTML and in Markdown."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from lib.git import DIRTY
from lib.platforms.outputs import model_digest
from lib.release.fingerprints import SHORT
from lib.release.gate import Verdict
from lib.release.lineage import parameters_of
from lib.release.records import (
    EvaluationRecord,
    ImageRecord,
    ModelRecord,
    Record,
    RunRecord,
    TestRecord,
    WebserviceRecord,
)
from lib.release.steps import STEPS
from lib.report.facts import Facts
from lib.report.svg import number, signed

Kind = Literal["done", "held", "failed", "partial"]
BADGES = {
    "first": "first release",
    "promote": "promoted",
    "unchanged": "unchanged",
    "hold": "held back",
    "incomparable": "not comparable",
}
TITLES = {
    "train": "Run",
    "evaluate": "Verdict",
    "register": "Model version",
    "image": "Image",
    "aci": "Staging service",
    "aci_test": "Test of staging",
    "aks": "Production service",
    "test": "Test of production",
}


class Headline(msgspec.Struct, frozen=True):
    """How a release ended, and why; the page colours it by `kind`."""

    kind: Kind
    badge: str
    title: str
    reasons: list[str]


class Figure(msgspec.Struct, frozen=True):
    """A number at the top of the report."""

    label: str
    value: str
    note: str = ""


class Row(msgspec.Struct, frozen=True):
    """A link of the lineage, with its digest and time."""

    title: str
    what: str
    digest: str = ""
    at: str = ""
    more: str = ""


def headline(facts: Facts) -> Headline:
    """Return how a release ended, and why."""
    verdict, step = facts.verdict, facts.next_step
    reasons = _reasons(verdict) if verdict else []
    if verdict and verdict.holds:
        stays = (
            f"Version {facts.production.version} stays in production"
            if facts.production
            else "Nothing is in production"
        )
        return Headline("held", BADGES[verdict.outcome], stays, reasons)
    if facts.failure and facts.failure.step == step:
        return Headline("failed", "failed", f"Failed at {step}", [*facts.failure.message.splitlines(), *reasons])
    badge = BADGES[verdict.outcome] if verdict else "not evaluated"
    if step:
        task = next(other.record.task for other in STEPS if other.name == step)
        return Headline("partial", badge, _unfinished(facts), [*reasons, f"`invoke {task}` continues from here"])
    model = facts.get(ModelRecord)
    version = f"Version {model.version}" if model else "It"
    if facts.serves and facts.production:
        return Headline("done", badge, f"{version} is in production", reasons)
    now = f"version {facts.production.version} is" if facts.production else "nothing is"
    return Headline("done", badge, f"{version} was put in production; {now} there now", reasons)


def _reasons(verdict: Verdict) -> list[str]:
    # A verdict "nothing is in production yet" would be wrong as soon as the model is in production.
    if verdict.outcome != "first":
        return verdict.reasons
    return [f"The first model: nothing was in production before; {verdict.metric} {number(verdict.candidate)}"]


def _unfinished(facts: Facts) -> str:
    model = facts.get(ModelRecord)
    if model and facts.production and model.version == facts.production.version:
        return f"Version {model.version} is in production; this release of it is not complete"
    if model:
        return f"Version {model.version} is not in production yet"
    return "Accepted by the gate, not registered yet" if facts.verdict else "Trained, not evaluated yet"


def notices(facts: Facts) -> Iterator[str]:
    """Yield warnings: a failure after the release, files that were not committed."""
    verdict, failure = facts.verdict, facts.failure
    if failure and (failure.step != facts.next_step or (verdict and verdict.holds)):
        yield f"Later, {failure.step} failed ({when(failure.failed_at)}): {failure.message.splitlines()[0]}"
    run = facts.get(RunRecord)
    if run and run.commit.endswith(DIRTY):
        yield "Trained with uncommitted changes: the commit alone cannot reproduce this model"


def figures(facts: Facts) -> Iterator[Figure]:
    """Yield the numbers at the top of the report."""
    run, verdict = facts.get(RunRecord), facts.verdict
    if verdict:
        note = f"{number(verdict.production)} in production" if verdict.production is not None else _floor(facts)
        yield Figure(verdict.metric, number(verdict.candidate), note)
    elif run:
        yield from (Figure(name, number(value), "as trained") for name, value in list(run.metrics.items())[:2])
    if verdict and verdict.improvement is not None:
        low, high = verdict.interval or (None, None)
        spread = "" if low is None or high is None else f"95 % from {signed(low)} to {signed(high)}"
        yield Figure("improvement", signed(verdict.improvement), spread)
    for name, test in facts.tests:
        yield Figure(f"{name.lower()}, p50", f"{test.p50_ms:.1f} ms", f"p99 {test.p99_ms:.1f} ms")


def _floor(facts: Facts) -> str:
    return f"the floor is {number(facts.rule.floor)}" if facts.rule and facts.rule.floor is not None else ""


def metrics(facts: Facts) -> Iterator[tuple[str, str, str, str]]:
    """Yield each metric: its name, this model's value, production's value, and the difference."""
    evaluation, run = facts.get(EvaluationRecord), facts.get(RunRecord)
    candidate = evaluation.metrics if evaluation else run.metrics if run else {}
    production = evaluation.production_metrics if evaluation else {}
    for name, value in candidate.items():
        other = production.get(name)
        yield name, number(value), *(("", "") if other is None else (number(other), signed(value - other)))


def lineage(facts: Facts) -> Iterator[Row]:
    """Yield the links from the data to production; a link without a time does not exist yet."""
    run = facts.get(RunRecord)
    if run:
        identity = ", ".join(f"{name} {value}" for name, value in facts.data.items() if name != "sha256")
        yield Row("Data", identity or "described by data.json", run.outputs["data.json"], run.created_at)
    for step in STEPS:
        link = facts.chain.get(step.record)
        if link and link.record:
            what, digest = _result(link.record, link.digest)
            yield Row(TITLES[step.name], what, digest, link.record.created_at, _origin(link.record))
        else:
            yield Row(TITLES[step.name], "")
    if facts.serves and facts.production:
        by = facts.production.evidence.get("by")
        yield Row("In production", f"promoted by {by}" if by else "since then", at=facts.production.since)
    else:
        yield Row("In production", "" if facts.next_step else "another version is there now")


def _result(record: Record, digest: str) -> tuple[str, str]:
    """Return a step's result, and its digest: of the result's content if it has any, else of the record."""
    what = record.summary
    match record:
        case RunRecord():
            what, digest = record.run_id, model_digest(record.outputs)
        case EvaluationRecord():
            what = BADGES[record.verdict.outcome]
        case ModelRecord():
            digest = record.sha256
        case ImageRecord():
            what, digest = "service/ with the model and its environment", record.digest
        case WebserviceRecord():
            what = f"{record.name}, {record.scoring_uri}"
        case TestRecord():
            what = f"{len(record.checks)} checks passed"
    return what, digest


def _origin(record: Record) -> str:
    if not isinstance(record, RunRecord):
        return ""
    parameters = [f"{name} {value}" for name, value in parameters_of(record.inputs).items()]
    python = record.python or record.inputs.get("python", "")
    commit = [f"commit {record.commit.removesuffix(DIRTY)[:SHORT]}"] if record.commit else []
    return ", ".join([*parameters, f"on {record.compute}", f"Python {python}", *commit])


def when(time: str) -> str:
    """Format a time of a record."""
    return time.replace("T", " ").replace("+00:00", " UTC")
