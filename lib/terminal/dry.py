"""`--dry`: what a task would do, and why."""

from collections.abc import Collection, Iterator

from lib.release import graph
from lib.release.steps import production
from lib.release.steps.step import Context


def show(context: Context, target: str, only: bool = False, forced: Collection[str] = ()) -> None:
    """Print what the steps up to a target would do."""
    for line in _steps(context, target, only, forced):
        print(line)


def _steps(context: Context, target: str, only: bool, forced: Collection[str]) -> Iterator[str]:
    """Yield a line for each step up to a target: whether it would run, and why."""
    condition, runs = "", False
    states = graph.plan(context, target, only, forced)
    for state in states:
        if state.kind == "fresh":
            yield f"{state.step:<9} is fresh"
        elif state.kind == "held":
            yield f"{state.step:<9} would be skipped: {state.because}"
        else:
            yield f"{state.step:<9} would run{condition}: {'. '.join(state.because.splitlines())}"
            runs = True
            condition = " unless the gate holds the model" if state.step == "evaluate" else condition
    if not runs:
        yield "Nothing would run"
    # A release that deploys nothing starts the version in production if it is down.
    if target == graph.NAMES[-1] and states[-1].kind == "held" and (trouble := production.trouble(context)):
        yield f"The version in production would be started again: {trouble}"
