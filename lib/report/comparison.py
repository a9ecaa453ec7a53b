"""A release compared with earlier ones: the metric over versions, and the changes since the previous version."""

import itertools

import msgspec

from lib import git
from lib.errors import ReleaseError
from lib.image.intact import file_digests
from lib.platforms.base import ModelVersion, Production
from lib.platforms.outputs import same_data
from lib.release import lineage
from lib.release.chain import Chain, find
from lib.release.fingerprints import FILE, Change, Fingerprint, differences
from lib.release.records import EvaluationRecord, ImageRecord, ModelRecord, RunRecord
from lib.release.steps.step import Context

MOST_VERSIONS = 50
SOURCES = ("model", "service", "config")


class Version(msgspec.Struct, frozen=True):
    """A version in the plot of the metric.

    `data` is the digest of its data.json; `produced`: it was in production; `registered` is false for this release's
    model if the gate held it; `other_data`: it was trained on other data than the previous version.
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
    """Return the newest versions that the gate accepted by the same metric, and this release's model as the last."""
    evaluation, model, run = find(chain, EvaluationRecord), find(chain, ModelRecord), find(chain, RunRecord)
    if not evaluation or not run:
        return []
    registered, produced = context.platform.models.versions(), {entry.version for entry in history}
    metric, this = evaluation.verdict.metric, model.version if model else 0
    result = [
        Version(
            version=version.version,
            value=value[1],
            run_id=version.run_id,
            data=version.tags.get("data", ""),
            produced=version.version in produced,
            this=version.version == this,
        )
        for version in registered
        if (value := lineage.metric_of(version.tags)) and value[0] == metric
    ][-MOST_VERSIONS:]
    if not model:
        last = registered[-1].version if registered else 0
        measured = evaluation.verdict.candidate, run.run_id, run.outputs["data.json"]
        result.append(Version(last + 1, *measured, False, registered=False, this=True))
    return _with_other_data(context, result)


def changes(
    context: Context,
    chain: Chain,
    before: ModelVersion,
    history: list[Production],
) -> list[Change]:
    """Return the changes of the model, the gate and the image since the previous version."""
    run, evaluation, image = find(chain, RunRecord), find(chain, EvaluationRecord), find(chain, ImageRecord)
    inputs = lineage.inputs_of(before.tags)
    if not run or not inputs:
        return []
    current = lineage.shorten(run.inputs | (evaluation.inputs if evaluation else {}))
    previous = {name: value for name, value in inputs.items() if evaluation or not name.startswith("gate.")}
    last = next((entry for entry in history if entry.version == before.version), None)
    if image and last:
        current |= _service_files(context, image.digest)
        previous |= _service_files(context, last.image)
    return differences(previous, current)


def commits(context: Context, run: RunRecord, before: ModelVersion) -> list[str]:
    """Return the commits between the previous version and this release, each as a line."""
    since, until = before.tags.get("commit", ""), run.commit.removesuffix(git.DIRTY)
    return [line for line, _ in git.commits(context.settings.root, since, SOURCES, until or "HEAD")]


def _with_other_data(context: Context, versions: list[Version]) -> list[Version]:
    changed = [False, *(_have_other_data(context, *pair) for pair in itertools.pairwise(versions))]
    return [
        msgspec.structs.replace(version, other_data=other) for version, other in zip(versions, changed, strict=False)
    ]


def _have_other_data(context: Context, before: Version, after: Version) -> bool:
    # data.json may differ in details such as the file's name: the gate's own rule decides whether the data differ.
    if before.data == after.data:
        return False
    try:
        files = [context.platform.runs.output(run_id, "data.json") for run_id in (before.run_id, after.run_id)]
    except ReleaseError:
        return True  # it was deleted, so nobody can know
    return not same_data(*files)


def _service_files(context: Context, image: str) -> Fingerprint:
    # The other files of an image are in the fingerprints of earlier steps.
    try:
        files = file_digests(context.platform.images.content(image))
    except ReleaseError:
        return {}
    return {name: f"{FILE}{sha256}" for name, sha256 in files.items() if name.startswith("service/")}
