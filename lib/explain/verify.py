"""`invoke trace --verify`: recompute every digest of a trace, and compare the service's answers with the model's."""

import itertools
from collections.abc import Callable, Iterator

import msgspec

from lib.errors import ReleaseError
from lib.explain.serving import Serving
from lib.explain.trace import Link
from lib.files import digest, digest_file
from lib.forks import evaluation
from lib.forks.client import CallError
from lib.forks.evaluation import Expectation
from lib.git import DIRTY, committed, filter_of, names_of
from lib.image.intact import MODEL_PATH, faults, file_digests
from lib.platforms.outputs import model_digest
from lib.release import chain, lineage
from lib.release.fingerprints import FILE, of_files
from lib.release.records import ImageRecord, ModelRecord
from lib.release.steps.deploy import service_of
from lib.release.steps.step import Context, holdout_of
from lib.settings import conda
from lib.webservice import DEFAULT, Client


def recompute(context: Context, serving: Serving, links: list[Link]) -> list[Link]:
    """Return the links with the faults that recomputing finds, and the local records as one more link."""
    records = Link(link="records", id=str(context.records.folder))
    return [
        msgspec.structs.replace(
            link, checked=True, faults=list(dict.fromkeys([*link.faults, *_faults(link, context, serving)]))
        )
        for link in [*links, records]
    ]


def require_no_faults(links: list[Link]) -> None:
    """Raise ReleaseError that names each broken link."""
    if lines := [f"{link.link} is broken: {fault}" for link in links for fault in link.faults]:
        raise ReleaseError("\n".join(lines))


def _faults(link: Link, context: Context, serving: Serving) -> Iterator[str]:
    try:
        yield from CHECKS[link.link](context, serving, link)
    except ReleaseError as error:  # a file that cannot be read is a fault, too
        yield str(error).splitlines()[0]


def _service(context: Context, serving: Serving, link: Link) -> Iterator[str]:
    """Compare the service's answers with the predictions of the registered model."""
    if serving.trouble:
        yield serving.trouble
    try:
        files = _model_files(context, serving)
    except ReleaseError:  # reported by the checks of the model and of the run
        return
    expected, link.facts["compared_with"] = _expected(context, serving, files)
    key = context.platform.services.keys(service_of(context, serving.target))[0]
    client = Client(serving.scoring_uri, key.reveal())
    entry = context.records.read(ImageRecord)
    form = entry[0].form if entry and entry[0].digest == serving.image else DEFAULT
    if expected and (fault := client.mismatch(expected["rows"], expected["predictions"], form)):
        yield fault


def _model_files(context: Context, serving: Serving) -> dict[str, str]:
    if serving.model is None:
        raise ReleaseError("the model is no longer registered")
    holdout, target = holdout_of(context, serving.model.run_id), context.settings.release.gate.target
    return {"model": str(context.platform.models.file(serving.version)), "holdout": str(holdout), "target": target}


def _expected(context: Context, serving: Serving, files: dict[str, str]) -> tuple[Expectation | None, str]:
    """Return rows with the predictions that the service must give, and where these come from.

    A model predicts with the code in model/ that trained it. If model/ has changed since, only the image's record can
    have these predictions, and only if it describes the image that serves.
    """
    entry = context.records.read(ImageRecord)
    if entry and entry[0].digest == serving.image and (entry[0].form != DEFAULT or entry[0].warnings):
        return {
            "rows": entry[0].rows,
            "names": [],
            "predictions": entry[0].predictions,
        }, "image.json: the answers of its rehearsal"
    inputs = lineage.inputs_of(serving.model.tags) if serving.model else {}
    code = {name: sha256 for name, sha256 in inputs.items() if name.startswith("model/")}
    if not code or lineage.shorten(of_files(context.settings.root, "model")) == code:
        return _predict(context, files), "the registered model"
    reason = f"because model/ here differs from the code of version {serving.version}"
    entry = context.records.read(ImageRecord)
    if entry and entry[0].digest == serving.image:
        return {"rows": entry[0].rows, "names": [], "predictions": entry[0].predictions}, f"image.json, {reason}"
    return None, f"nothing, {reason}"


def _predict(context: Context, files: dict[str, str]) -> Expectation:
    count = context.settings.release.limits.test_rows
    try:
        return context.forks.call(evaluation.expect, root=str(context.settings.root), count=count, **files)
    except CallError as error:
        reason = str(error).splitlines()[0]
        raise ReleaseError(f"the registered model cannot predict its hold-out rows: {reason}") from None


def _image(_context: Context, serving: Serving, _link: Link) -> Iterator[str]:
    """Compare the image's files with its manifest, and the manifest with the digest in the service's header."""
    if serving.content:
        yield from faults(serving.content, serving.image)


def _model(context: Context, serving: Serving, _link: Link) -> Iterator[str]:
    """Compare the registered model with its digest, and with the model in the image."""
    if serving.model is None:
        return
    model = context.platform.models.file(serving.version)
    if model.is_file() and digest_file(model) != serving.model.sha256:
        yield "its file differs from the one that was registered"
    if serving.content:
        files = {name: sha256 for name, sha256 in file_digests(serving.content).items() if name.startswith(MODEL_PATH)}
        in_image = model_digest({name.removeprefix(MODEL_PATH): sha256 for name, sha256 in files.items()})
        if in_image != serving.model.sha256:
            yield f"the image holds another model, {in_image[:12]}"


def _run(context: Context, serving: Serving, _link: Link) -> Iterator[str]:
    """Read each output of the run, which the platform verifies, and compare its model with the registered one."""
    if serving.model is None:
        return
    try:
        outputs = context.platform.runs.outputs(serving.model.run_id)
    except ReleaseError as error:
        yield str(error).splitlines()[0]
        return
    for filename in outputs:
        try:
            context.platform.runs.output(serving.model.run_id, filename)
        except ReleaseError as error:
            yield str(error).splitlines()[0]
    if model_digest(outputs) != serving.model.sha256:
        yield "its model is not the model that was registered"


def _data(context: Context, serving: Serving, _link: Link) -> Iterator[str]:
    """Compare the run's data.json with the digest that was registered."""
    if serving.model is None:
        return
    sha256 = digest_file(context.platform.runs.output(serving.model.run_id, "data.json"))
    if sha256 != serving.model.tags.get("data"):
        yield f"data.json of the run, {sha256[:12]}, differs from the one that was registered"


def _commit(context: Context, serving: Serving, link: Link) -> Iterator[str]:
    """Compare the commit's files with those that the model was trained from, if this clone has the commit.

    Data may be missing in the commit, since many projects keep it out of git. A file that git stores through a filter,
    Git LFS for example, cannot be compared: git has other bytes of it.
    """
    commit, root = serving.model.tags.get("commit", "") if serving.model else "", context.settings.root
    inputs = lineage.inputs_of(serving.model.tags) if serving.model else {}
    names = set() if commit.endswith(DIRTY) else names_of(root, commit)
    for name, sha256 in inputs.items() if names else ():
        content = committed(root, commit, name) if name in names else None
        if content is not None and not f"{FILE}{digest(content)}".startswith(sha256):
            if git_filter := filter_of(root, name):
                link.facts.setdefault("not_compared", []).append(f"{name} (git filter {git_filter})")
            else:
                yield f"{name} of the commit is not what the model was trained from"
        if name not in names and name.startswith(("model/", "config/")):
            yield f"{name}, which the model was trained from, is not in the commit"


def _environment(_context: Context, serving: Serving, _link: Link) -> Iterator[str]:
    """Compare the image's conda file with the image's manifest."""
    if serving.content and file_digests(serving.content).get(conda.NAME) != digest_file(serving.content / conda.NAME):
        yield f"{serving.content / conda.NAME} was changed after the image was built"


def _promotion(context: Context, serving: Serving, _link: Link) -> Iterator[str]:
    """Compare what the production service serves with the production pointer."""
    production = context.platform.models.production()
    serves = (serving.version, serving.image)
    if serving.target == "aks" and (production is None or (production.version, production.image) != serves):
        target = f"version {production.version} of image {production.image[:12]}" if production else "nothing"
        yield f"the production pointer says {target}"


def _records(context: Context, serving: Serving, _link: Link) -> Iterator[str]:
    """Check that each record of the version that serves has the digest of the record before it."""
    links = [link for link in chain.read(context.records) if link.state != "missing"]
    yield from (link.trouble.splitlines()[0] for link in links if link.state == "broken")
    records = [link.record for link in links if link.record]
    if not any(isinstance(record, ModelRecord) and record.version == serving.version for record in records):
        return
    for before, link in itertools.pairwise(links):
        first, second = before.record, link.record
        # A first record that is younger than the second belongs to a later release that is not complete: no fault.
        if link.state == "foreign" and first and second and first.created_at <= second.created_at:
            yield f"{second.filename} was not built on this {first.filename}"


# Each yields the faults of a link, and may add facts to it.
CHECKS: dict[str, Callable[[Context, Serving, Link], Iterator[str]]] = {
    "service": _service,
    "image": _image,
    "model": _model,
    "run": _run,
    "commit": _commit,
    "data": _data,
    "environment": _environment,
    "promotion": _promotion,
    "records": _records,
}
