"""The records that belong together: those of the newest release, as far as it came."""

from typing import cast

from lib.errors import ReleaseError
from lib.release.records import Record, task_of
from lib.release.steps import STEPS
from lib.release.steps.step import Context, R

Chain = dict[type[Record], tuple[Record, str]]


def belonging(context: Context) -> Chain:
    """Return the records that belong together, from the first on, each with its digest."""
    chain: Chain = {}
    previous = ""
    for step in STEPS:
        try:
            read = context.records.read(step.record, task_of(step.name))
        except ReleaseError:
            break  # `invoke status` tells of a record that is not whole
        if read is None or read[0].previous != previous:
            break
        chain[step.record] = read
        previous = read[1]
    return chain


def found(chain: Chain, kind: type[R]) -> R | None:
    """Return a record of a chain."""
    return cast(R, chain[kind][0]) if kind in chain else None
