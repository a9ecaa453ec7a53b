"""The chain of records: each record names the digest of the record before it. This is the one place that reads it."""

import itertools
from dataclasses import dataclass
from typing import Literal, TypeVar, cast

from lib.errors import ReleaseError
from lib.release.records import Record, Records
from lib.release.steps import STEPS
from lib.release.steps.step import AnyStep

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Link:
    """A step's record as its file is now. `trouble` says why it is not linked to the record before it.

    The record is missing, broken (its file cannot be read), foreign (it was built on another record than
    the present one) or linked. Only a foreign or linked one has a `record` and a `digest`.
    """

    step: AnyStep
    state: Literal["missing", "broken", "foreign", "linked"]
    record: Record | None = None
    digest: str = ""
    trouble: str = ""


Chain = dict[type[Record], Link]


def read(records: Records) -> list[Link]:
    """Return the link of every step, in order."""
    links: list[Link] = []
    for step in STEPS:
        links.append(_link(records, step, links[-1] if links else None))
    return links


def newest(records: Records) -> Chain:
    """Return the links of the newest release by the type of their record: all up to the first that is not linked."""
    return {link.step.record: link for link in itertools.takewhile(lambda link: link.state == "linked", read(records))}


def find(chain: Chain, kind: type[R]) -> R | None:
    """Return a record of a chain, None if the release has not written it."""
    return cast(R, chain[kind].record) if kind in chain else None


def foreign(step: AnyStep) -> str:
    """Return why a step's record is foreign: the step before it has run again since."""
    before = STEPS[max(STEPS.index(step) - 1, 0)]
    return f"{before.name} produced a new {before.record.noun}"


def _link(records: Records, step: AnyStep, before: Link | None) -> Link:
    try:
        entry = records.read(step.record)
    except ReleaseError as error:
        return Link(step, "broken", trouble=str(error))
    if entry is None:
        return Link(step, "missing", trouble=f"no {step.record.filename} yet")
    record, digest = entry
    if record.previous == (before.digest if before else ""):
        return Link(step, "linked", record, digest)
    if before and before.record is None:
        return Link(step, "foreign", record, digest, f"{before.step.record.filename} is missing or cannot be read")
    return Link(step, "foreign", record, digest, foreign(step))
