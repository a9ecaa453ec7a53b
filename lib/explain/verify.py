"""Recompute what a trace tells: each link against the one that names it."""

import itertools
from collections.abc import Callable, Iterator

import msgspec

from lib.errors import ReleaseError
from lib.explain.expected import expectation
from lib.explain.trace import CONDA, Link, Serving
from lib.files import digest, digest_file
from lib.git import DIRTY, committed, names_of
from lib.image.assemble import MODEL_PATH, faults, manifest
from lib.platforms.outputs import MODEL, OUTPUTS
from lib.release import lineage
from lib.release.fingerprints import FILE
from lib.release.records import ModelRecord, Record, task_of
from lib.release.steps import STEPS
from lib.release.steps.deploy import service_of
from lib.release.steps.step import Context
from lib.webservice import Client

Check = Callable[[Context, Serving], Iterator[str]]


def verified(context: Context, found: Serving, links: list[Link]) -> list[Link]:
    """Return the links with every fault that recomputing finds, and the records as one more link."""
    records = Link(link="records", id=str(context.records.folder))
    return [
        msgspec.structs.replace(
            link, checked=True, faults=list(dict.fromkeys([*link.faults, *faults_of(link, context, found)]))
        )
        for link in [*links, records]
    ]


def require(links: list[Link]) -> None:
    """Raise ReleaseError that names each broken link."""
    if broken := [f"{link.link} is broken: {fault}" for link in links for fault in link.faults]:
        raise ReleaseError("\n".join(broken))


def faults_of(link: Link, context: Context, found: Serving) -> Iterator[str]:
    """Yield what the check of a link finds; what cannot be read is a fault, too."""
    try:
        yield from CHECKS[link.link](context, found)
    except ReleaseError as error:
        yield str(error).splitlines()[0]


def service_faults(context: Context, found: Serving) -> Iterator[str]:
    """Compare who answers with what the platform keeps, and the answers with what the registered model predicts."""
    if found.trouble:
        yield found.trouble
    try:
        files = model_files(context, found)
    except ReleaseError:  # the model's and the run's own checks tell of it
        return
    expected = expectation(context, found, files)
    key = context.platform.keys(service_of(context, found.target))[0]
    if fault := Client(found.scoring_uri, key.reveal()).mismatch(expected["rows"], expected["predictions"]):
        yield fault


def model_files(context: Context, found: Serving) -> dict[str, str]:
    """Return the files with which the registered model predicts. Raises ReleaseError where one is not as it was."""
    if found.model is None:
        raise ReleaseError("the model is not registered any more")
    holdout = context.platform.output(found.model.run_id, "holdout.json")
    model = context.platform.model_file(found.version)
    return {"model": str(model), "holdout": str(holdout)}


def image_faults(_context: Context, found: Serving) -> Iterator[str]:
    """Compare the image's files with its manifest, and the manifest with the digest that the service says."""
    if found.content:
        yield from faults(found.content, found.image)


def model_faults(context: Context, found: Serving) -> Iterator[str]:
    """Compare the registered model with its digest, and with the model of the image."""
    if found.model is None:
        return
    if digest_file(context.platform.model_file(found.version)) != found.model.sha256:
        yield "the file is not the one that was registered"
    if found.content:
        held = manifest(found.content).get(MODEL_PATH, "")
        if held != found.model.sha256:
            yield f"the image holds another model, {held[:12]}"


def run_faults(context: Context, found: Serving) -> Iterator[str]:
    """Read each output of the run, which the platform verifies, and compare its model with the registered one."""
    if found.model is None:
        return
    for filename in OUTPUTS:
        try:
            sha256 = digest_file(context.platform.output(found.model.run_id, filename))
        except ReleaseError as error:
            yield str(error).splitlines()[0]
            continue
        if filename == MODEL and sha256 != found.model.sha256:
            yield f"{filename} is not the model that was registered"


def data_faults(context: Context, found: Serving) -> Iterator[str]:
    """Compare what identifies the data with the digest that was registered."""
    if found.model is None:
        return
    sha256 = digest_file(context.platform.output(found.model.run_id, "data.json"))
    if sha256 != found.model.tags.get("data"):
        yield f"data.json of the run is not the one that was registered but {sha256[:12]}"


def commit_faults(context: Context, found: Serving) -> Iterator[str]:
    """Compare the files of the commit, where this clone has it, with those that the model was trained from.

    Data may be kept out of git.
    """
    commit, root = found.model.tags.get("commit", "") if found.model else "", context.settings.root
    inputs = lineage.inputs_of(found.model.tags) if found.model else {}
    there = set() if commit.endswith(DIRTY) else names_of(root, commit)
    for name, sha256 in inputs.items() if there else ():
        contents = committed(root, commit, name) if name in there else []
        if contents and not any(f"{FILE}{digest(one)}".startswith(sha256) for one in contents):
            yield f"{name} of the commit is not what the model was trained from"
        if name not in there and name.startswith(("model/", "config/")):
            yield f"{name}, which the model was trained from, is not in the commit"


def environment_faults(_context: Context, found: Serving) -> Iterator[str]:
    """Compare the environment's file with what the image says of it."""
    if found.content and manifest(found.content).get(CONDA) != digest_file(found.content / CONDA):
        yield f"{found.content / CONDA} is not what was built"


def promotion_faults(context: Context, found: Serving) -> Iterator[str]:
    """Compare what the production service serves with what the production pointer says."""
    now = context.platform.production()
    if found.target == "aks" and (now is None or (now.version, now.image) != (found.version, found.image)):
        there = f"version {now.version} of image {now.image[:12]}" if now else "nothing"
        yield f"the production pointer says {there}"


def record_faults(context: Context, found: Serving) -> Iterator[str]:
    """Compare the records of what serves with each other: each names the digest of the one before.

    One that is younger than the record after it belongs to a release that has begun since, which is no fault.
    """
    read = [(step, context.records.read(step.record, task_of(step.name))) for step in STEPS]
    there = [(step.record.filename, *one) for step, one in read if one]
    if not any(isinstance(record, ModelRecord) and record.version == found.version for _, record, _ in there):
        return
    for (before, first, sha256), (after, second, _) in itertools.pairwise(there):
        if second.previous != sha256 and not since(first, second):
            yield f"{after} was not built on this {before}"


def since(first: Record, second: Record) -> bool:
    """Tell whether a record was written anew after the one that follows it."""
    return first.created_at > second.created_at


CHECKS: dict[str, Check] = {
    "service": service_faults,
    "image": image_faults,
    "model": model_faults,
    "run": run_faults,
    "commit": commit_faults,
    "data": data_faults,
    "environment": environment_faults,
    "promotion": promotion_faults,
    "records": record_faults,
}
