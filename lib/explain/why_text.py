"""Why a step is as it is, in words: its own reasons and those of the steps before it that make it stale."""

from collections.abc import Iterator

import msgspec

from lib.explain.why import Explanation, to_run
from lib.git import DIRTY
from lib.release.fingerprints import FILE, SHORT, Change
from lib.release.records import task_of
from lib.terminal.progress import coloured

STEP = "          "  # as wide as the name of a step


def as_json(explained: list[Explanation]) -> str:
    """Tell all of it for machines: the step that was asked about, and the steps that it needs."""
    target = explained[-1]
    told = {
        "step": target.step,
        "state": target.state,
        "because": target.because,
        "runs": to_run(explained),
        "steps": explained,
    }
    return msgspec.json.format(msgspec.json.encode(told), indent=2).decode()


def as_text(explained: list[Explanation]) -> str:
    """Tell it for people: the cause first, and at the end what would run."""
    target = explained[-1]
    lines = [f"{target.step} is {coloured(target.state, target.state)}", ""]
    if target.state == "fresh":
        return "\n".join([*lines, *depends(target, explained)])
    for one in explained:
        if one.state != "fresh" or (one.step == "evaluate" and target.state == "held"):
            lines += block(one)
    return "\n".join([*lines, "", would_run(explained)]).rstrip()


def block(one: Explanation) -> list[str]:
    """Tell one step: a line for each reason, then which record says so."""
    own = [*one.reasons, *(line for change in one.changes for line in changed(change, one))]
    head = [] if own and one.state == "stale" else (one.because or one.summary).splitlines()
    lines = [*head, *own, *([made(one)] if one.made_at and own else [])]
    return [f"{one.step:<9} {lines[0]}", *(STEP + line for line in lines[1:])]


def changed(change: Change, one: Explanation) -> Iterator[str]:
    """Tell a change, and where a changed file's comes from."""
    yield str(change)
    yield from (f"  {origin}" for origin in one.origins.get(change.name, []))


def made(one: Explanation) -> str:
    """Tell when a record was made, and from which commit."""
    if not one.commit:
        return f"{one.record} was made {one.made_at}"
    dirty = " and what was not committed" if one.commit.endswith(DIRTY) else ""
    return f"{one.record} was made {one.made_at} from commit {one.commit.removesuffix(DIRTY)[:SHORT]}{dirty}"


def depends(target: Explanation, explained: list[Explanation]) -> Iterator[str]:
    """Tell what keeps a step fresh."""
    yield target.summary
    yield made(target)
    yield ""
    yield "It depends on"
    width = max(map(len, target.inputs), default=0)
    yield from (f"  {name:<{width}}  {short(value)}" for name, value in target.inputs.items())
    if len(explained) > 1:
        yield f"  {explained[-2].record} of {explained[-2].step}, which is fresh"
    yield "  what it made, which the platform has just confirmed to be there"


def short(value: str) -> str:
    """Shorten a file's digest."""
    return f"sha256 {value.removeprefix(FILE)[:SHORT]}" if value.startswith(FILE) else value


def would_run(explained: list[Explanation]) -> str:
    """Tell what the task of the last step would run."""
    names = to_run(explained)
    damaged = next((one for one in explained if not one.whole), None)
    if not names:
        return (
            ""
            if damaged
            else "Nothing would run: the gate holds. A change to the model or to the gate goes on from here"
        )
    gated = names[names.index("evaluate") + 1 :] if "evaluate" in names else []
    sure = ", ".join(names[: len(names) - len(gated)])
    rest = f"; then, unless the gate holds the model back, {', '.join(gated)}" if gated else ""
    end = f"; and stop at {damaged.record}" if damaged else ""
    return f"`invoke {task_of(explained[-1].step)}` would run {sure}{rest}{end}"
