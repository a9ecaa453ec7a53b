"""Compare a run's model with the production model: each predicts with its own code, in its own environment."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lib.environment import lock
from lib.forks import evaluation, resampling, rows
from lib.forks.client import CallError, Forks
from lib.forks.evaluation import Comparison
from lib.platforms.base import Production
from lib.platforms.outputs import ROWS, SOURCE, same_data
from lib.release import source
from lib.release.gate import Verdict
from lib.release.steps.step import Context, holdout_of

FEWEST_ROWS = 20  # that are new to both models


@dataclass(frozen=True)
class Opponent:
    """The model in production: its run, its file or folder, its code (`root`), and the forks to run it in.

    `has_code` is False for versions of earlier releases: today's code runs them.
    """

    version: int
    run_id: str
    model: Path
    root: Path
    forks: Forks
    has_code: bool


@contextlib.contextmanager
def opponent(context: Context, production: Production | None) -> Iterator[Opponent | None]:
    """Yield the model in production with its stored code; None if nothing was ever in production."""
    if production is None:
        yield None
        return
    runs, models = context.platform.runs, context.platform.models
    version = models.find(production.version)
    run_id = version.run_id if version else production.evidence["run"]
    # If the version was deleted, its run still has the model.
    model = models.file(production.version) if version else runs.model(run_id)
    if SOURCE not in runs.outputs(run_id):
        yield Opponent(production.version, run_id, model, context.settings.root, context.forks, has_code=False)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        source.unpack(runs.output(run_id, SOURCE), root)
        packages = root / lock.PATH
        forks = context.forks.of(lock.parse(packages.read_text())) if packages.is_file() else context.forks
        yield Opponent(production.version, run_id, model, root, forks, has_code=True)


def compare(context: Context, run_id: str, other: Opponent | None) -> Comparison:
    """Score the run's model and the production model on the rows that neither was trained on.

    If that is not possible, `trouble` says why.
    """
    rule, root = context.settings.release.gate, str(context.settings.root)
    rows_of = {"holdout": str(holdout_of(context, run_id)), "target": rule.target}
    only = _unseen(context, [run_id, other.run_id] if other else [run_id], rows_of)
    answers, trouble = _answers(other, rule.metric, rows_of) if other else (None, "")
    if other and only is not None and len(only) < FEWEST_ROWS:
        answers, trouble = None, f"only {len(only)} rows of the hold-out are new to both models: set gate.holdout"
    scores = context.forks.call(
        evaluation.compare,
        root=root,
        candidate=str(context.platform.runs.model(run_id)),
        production=answers,
        metric=rule.metric,
        direction=rule.direction,
        budget_s=rule.time_budget_s,
        only=only if answers is not None else None,
        **rows_of,
    )
    count = len(scores["improvements"])
    if scores["production"] and count < resampling.RESAMPLES:
        context.tell(
            f"{count} of {resampling.RESAMPLES} resamples: scoring is slow (gate.time_budget_s = "
            f"{rule.time_budget_s:g}), or the metric is not defined on some of them"
        )
    trouble = trouble or scores["trouble"]
    return scores | {"trouble": f"version {other.version} in production: {trouble}" if other and trouble else ""}


def with_remarks(verdict: Verdict, context: Context, run_id: str, other: Opponent | None) -> Verdict:
    """Add to a verdict's reasons what may make the comparison unfair."""
    if other is None:
        return verdict
    remarks = []
    runs = context.platform.runs
    outputs = [runs.outputs(each) for each in (run_id, other.run_id)]
    same = same_data(runs.output(other.run_id, "data.json"), runs.output(run_id, "data.json"))
    if not same and not all(ROWS in each for each in outputs) and verdict.outcome != "incomparable":
        remarks.append(
            "the data changed since the production model was trained; both are scored on the new hold-out rows, "
            "some of which it may know (gate.holdout avoids this)"
        )
    if not other.has_code and verdict.outcome not in ("unchanged", "first"):
        remarks.append(f"version {other.version} has no stored code: it predicts with today's code")
    return msgspec.structs.replace(verdict, reasons=[*verdict.reasons, *remarks])


def _answers(other: Opponent, metric: str, rows_of: dict[str, str]) -> tuple[list[object] | None, str]:
    """Return the answers of the production model, or None and why there are none."""
    arguments = {"root": str(other.root), "model": str(other.model), "metric": metric, **rows_of}
    try:
        return other.forks.call(evaluation.answers, **arguments), ""
    except CallError as error:
        return None, f"it cannot predict the hold-out rows: {str(error).splitlines()[0]}"


def _unseen(context: Context, run_ids: list[str], rows_of: dict[str, str]) -> list[int] | None:
    """Return which hold-out rows are new to all runs whose training rows are known; None if all are."""
    runs = context.platform.runs
    known = [str(runs.output(run_id, ROWS)) for run_id in dict.fromkeys(run_ids) if ROWS in runs.outputs(run_id)]
    if not known:
        return None
    new, count = context.forks.call(rows.unseen, trained=known, **rows_of)
    if len(new) == count:
        return None
    context.tell(f"{count - len(new)} of {count} hold-out rows are left out: one of the models was trained on them")
    return new
