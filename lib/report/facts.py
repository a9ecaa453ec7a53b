"""The facts in a report: the records of the newest release, and what the platform and git know about it."""

import json
from typing import Any

import msgspec

from lib.clock import now
from lib.errors import NotFreshError, ReleaseError
from lib.platforms.base import ModelVersion, Production
from lib.platforms.outputs import read_data
from lib.release.chain import Chain, find, newest
from lib.release.fingerprints import Change
from lib.release.gate import Verdict
from lib.release.records import (
    AciTestRecord,
    AksTestRecord,
    EvaluationRecord,
    FailureRecord,
    ImageRecord,
    ModelRecord,
    RunRecord,
    TestRecord,
    redact,
)
from lib.release.steps import STEPS
from lib.release.steps.step import Context, R, signature_of
from lib.report.comparison import Version, changes, commits, versions
from lib.report.predictions import Classification, Regression, predictions
from lib.settings.release import Rule


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts in a report. A release may have ended at any step: facts of later steps are None or empty.

    `before` is the version that the gate compared with; `unpredicted` says why there are no predictions.
    """

    name: str
    description: str
    platform: str
    made_at: str
    chain: Chain
    failure: FailureRecord | None
    production: Production | None
    data: dict[str, Any]
    signature: dict[str, Any]
    rule: Rule | None
    predictions: Regression | Classification | None
    unpredicted: str
    versions: list[Version]
    before: ModelVersion | None
    changes: list[Change]
    commits: list[str]

    def get(self, kind: type[R]) -> R | None:
        """Return a record of this release, or None."""
        return find(self.chain, kind)

    @property
    def verdict(self) -> Verdict | None:
        """The gate's verdict."""
        evaluation = self.get(EvaluationRecord)
        return evaluation.verdict if evaluation else None

    @property
    def tests(self) -> list[tuple[str, TestRecord]]:
        """The tests of both services, with the services' names."""
        kinds: list[tuple[str, type[TestRecord]]] = [("Staging", AciTestRecord), ("Production", AksTestRecord)]
        return [(name, test) for name, kind in kinds if (test := self.get(kind))]

    @property
    def next_step(self) -> str:
        """The first step that this release has not done, or an empty string."""
        return next((step.name for step in STEPS if step.record not in self.chain), "")

    @property
    def serves(self) -> bool:
        """Whether this release's version and image are in production now."""
        model, image = self.get(ModelRecord), self.get(ImageRecord)
        if not (model and image and self.production):
            return False
        return (model.version, image.digest) == (self.production.version, self.production.image)


def gather(context: Context) -> Facts:
    """Gather the facts of the newest release. Raises NotFreshError if there is no record."""
    chain, failure = newest(context.records), context.records.failure()
    if not chain and not failure:
        raise NotFreshError(
            f"there is nothing to report: {context.records.folder} has no {RunRecord.filename}\n"
            "`invoke release` makes a release"
        )
    platform, model = context.platform, context.settings.release.model
    run, evaluation = find(chain, RunRecord), find(chain, EvaluationRecord)
    rows, unpredicted = _predictions(context, run) if run else (None, "")
    production, history = platform.models.production(), platform.models.history()
    against = evaluation.against if evaluation else production.version if production else None
    before = platform.models.find(against) if run and against else None
    return Facts(
        name=model.name,
        description=model.description,
        platform=platform.name,
        made_at=now(),
        chain=chain,
        failure=failure and redact(failure, context.settings),
        production=production,
        data=_data(context, run) if run else {},
        signature=_signature(context, run) if run else {},
        rule=_rule(evaluation) if evaluation else None,
        predictions=rows,
        unpredicted=unpredicted,
        versions=versions(context, history, chain),
        before=before,
        changes=changes(context, chain, before, history) if before else [],
        commits=commits(context, run, before) if run and before else [],
    )


def _rule(evaluation: EvaluationRecord) -> Rule:
    # The rule at the time of the verdict; today's settings may differ.
    settings = {name.removeprefix("gate."): json.loads(value) for name, value in evaluation.inputs.items()}
    return msgspec.convert(settings, Rule)


def _predictions(context: Context, run: RunRecord) -> tuple[Regression | Classification | None, str]:
    """Return the model's predictions for the held-out rows, or the reason why there are none."""
    try:
        return predictions(context, run.run_id), ""
    except ReleaseError as error:
        return None, str(error).splitlines()[0]


def _data(context: Context, run: RunRecord) -> dict[str, Any]:
    try:
        return read_data(context.platform.runs.output(run.run_id, "data.json"))
    except ReleaseError:
        return {}


def _signature(context: Context, run: RunRecord) -> dict[str, Any]:
    """Return the run's signature; empty for runs of earlier releases."""
    try:
        path = signature_of(context, run.run_id)
        return dict(json.loads(path.read_bytes())) if path else {}
    except ReleaseError:
        return {}
