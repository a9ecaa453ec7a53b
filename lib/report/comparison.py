"""A release beside those before it: its metric among theirs, and what changed since the version before."""

import json

import msgspec

from lib import lineage, repository
from lib.errors import ReleaseError
from lib.fingerprints import FILE, Change, Fingerprint, differences
from lib.platforms.base import ModelVersion, Production
from lib.records import EvaluationRecord, ImageRecord, ModelRecord, RunRecord
from lib.report.chain import Chain, found
from lib.steps.context import Context

MOST = 50
SOURCES = ("model", "service", "config")


class Version(msgspec.Struct, frozen=True):
    """A version in the history of the metric; `registered` is false for a model that was not let through."""

    version: int
    value: float
    data: str
    produced: bool
    registered: bool = True
    this: bool = False


def versions(registered: list[ModelVersion], history: list[Production], chain: Chain) -> list[Version]:
    """Return the latest versions that were let through by the same metric, and this release's model behind them."""
    evaluation, model, run = found(chain, EvaluationRecord), found(chain, ModelRecord), found(chain, RunRecord)
    if not evaluation or not run:
        return []
    produced = {one.version for one in history}
    metric, this = evaluation.verdict.metric, model.version if model else 0
    shown = [
        Version(one.version, value[1], one.tags.get("data", ""), one.version in produced, this=one.version == this)
        for one in registered
        if (value := lineage.metric_of(one.tags)) and value[0] == metric
    ]
    if model:
        return shown[-MOST:]
    last = registered[-1].version if registered else 0
    candidate = evaluation.verdict.candidate
    return [*shown[-MOST:], Version(last + 1, candidate, run.outputs["data.json"], False, registered=False, this=True)]


def changes(
    context: Context,
    chain: Chain,
    before: ModelVersion,
    history: list[Production],
) -> list[Change]:
    """Return what changed since the version before: of its model, its gate and its image."""
    run, evaluation, image = found(chain, RunRecord), found(chain, EvaluationRecord), found(chain, ImageRecord)
    inputs = lineage.inputs_of(before.tags)
    if not run or not inputs:
        return []
    mine = lineage.shortened(run.inputs | (evaluation.inputs if evaluation else {}))
    theirs = {name: value for name, value in inputs.items() if evaluation or not name.startswith("gate.")}
    last = next((one for one in history if one.version == before.version), None)
    if image and last:
        mine |= manifest(context, image.digest)
        theirs |= manifest(context, last.image)
    return differences(theirs, mine)


def manifest(context: Context, digest: str) -> Fingerprint:
    """Return the files of an image that no other fingerprint has."""
    try:
        content = context.platform.image_content(digest) / "manifest.json"
    except ReleaseError:
        return {}
    files = json.loads(content.read_bytes())["files"]
    return {name: f"{FILE}{sha256}" for name, sha256 in files.items() if name.startswith("service/")}


def commits(context: Context, run: RunRecord, before: ModelVersion) -> list[str]:
    """Return the commits between the version before and this release."""
    since, until = before.tags.get("commit", ""), run.commit.removesuffix(repository.DIRTY)
    return [line for line, _ in repository.commits(context.settings.root, since, SOURCES, until or "HEAD")]
