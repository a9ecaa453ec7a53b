"""A release beside those before it: its metric among theirs, and what changed since the version before."""

import itertools

import msgspec

from lib import git
from lib.errors import ReleaseError
from lib.image.assemble import file_digests
from lib.platforms.base import ModelVersion, Production
from lib.platforms.outputs import same_data
from lib.release import lineage
from lib.release.chain import Chain, find
from lib.release.fingerprints import FILE, Change, Fingerprint, differences
from lib.release.records import EvaluationRecord, ImageRecord, ModelRecord, RunRecord
from lib.release.steps.step import Context

MOST = 50
SOURCES = ("model", "service", "config")


class Version(msgspec.Struct, frozen=True):
    """A version in the history of the metric; `registered` is false for a model that was not let through.

    `data` is the digest of its data.json; `other_data` tells whether it is of other data than the one before.
    """

    version: int
    value: float
    run_id: str
    data: str
    produced: bool
    registered: bool = True
    this: bool = False
    other_data: bool = False


def versions(context: Context, history: list[Production], chain: Chain) -> list[Version]:
    """Return the latest versions that were let through by the same metric, and this release's model behind them."""
    evaluation, model, run = find(chain, EvaluationRecord), find(chain, ModelRecord), find(chain, RunRecord)
    if not evaluation or not run:
        return []
    registered, produced = context.platform.models.versions(), {one.version for one in history}
    metric, this = evaluation.verdict.metric, model.version if model else 0
    shown = [
        Version(
            version=one.version,
            value=value[1],
            run_id=one.run_id,
            data=one.tags.get("data", ""),
            produced=one.version in produced,
            this=one.version == this,
        )
        for one in registered
        if (value := lineage.metric_of(one.tags)) and value[0] == metric
    ][-MOST:]
    if not model:
        last = registered[-1].version if registered else 0
        mine = evaluation.verdict.candidate, run.run_id, run.outputs["data.json"]
        shown.append(Version(last + 1, *mine, False, registered=False, this=True))
    return marked(context, shown)


def marked(context: Context, shown: list[Version]) -> list[Version]:
    """Mark the versions where the data changed, by the rule of the gate."""
    changed = [False, *(other_data(context, before, one) for before, one in itertools.pairwise(shown))]
    return [msgspec.structs.replace(one, other_data=other) for one, other in zip(shown, changed, strict=False)]


def other_data(context: Context, before: Version, one: Version) -> bool:
    """Tell whether two versions are of other data; what is not there any more is."""
    if before.data == one.data:
        return False
    try:
        told = [context.platform.runs.output(run_id, "data.json") for run_id in (before.run_id, one.run_id)]
    except ReleaseError:
        return True
    return not same_data(*told)


def changes(
    context: Context,
    chain: Chain,
    before: ModelVersion,
    history: list[Production],
) -> list[Change]:
    """Return what changed since the version before: of its model, its gate and its image."""
    run, evaluation, image = find(chain, RunRecord), find(chain, EvaluationRecord), find(chain, ImageRecord)
    inputs = lineage.inputs_of(before.tags)
    if not run or not inputs:
        return []
    mine = lineage.shortened(run.inputs | (evaluation.inputs if evaluation else {}))
    theirs = {name: value for name, value in inputs.items() if evaluation or not name.startswith("gate.")}
    last = next((one for one in history if one.version == before.version), None)
    if image and last:
        mine |= files_of(context, image.digest)
        theirs |= files_of(context, last.image)
    return differences(theirs, mine)


def files_of(context: Context, digest: str) -> Fingerprint:
    """Return the files of an image that no other fingerprint has."""
    try:
        files = file_digests(context.platform.images.content(digest))
    except ReleaseError:
        return {}
    return {name: f"{FILE}{sha256}" for name, sha256 in files.items() if name.startswith("service/")}


def commits(context: Context, run: RunRecord, before: ModelVersion) -> list[str]:
    """Return the commits between the version before and this release."""
    since, until = before.tags.get("commit", ""), run.commit.removesuffix(git.DIRTY)
    return [line for line, _ in git.commits(context.settings.root, since, SOURCES, until or "HEAD")]
