"""What exactly is serving: from the service that answers back to its image, model, run, commit, data and environment.

It goes by what the service says and by what the platform keeps; the records may be those of another release.
"""

import json
from pathlib import Path
from typing import Any

import msgspec

from lib.errors import ReleaseError
from lib.files import digest_file
from lib.git import DIRTY, git, names_of
from lib.platforms.base import ModelVersion, Production
from lib.platforms.outputs import read_data
from lib.release import lineage
from lib.release.fingerprints import FILE
from lib.release.steps.deploy import service_of
from lib.release.steps.step import Context
from lib.settings.conda import pins
from lib.webservice import Client

HEADERS = ("X-Model", "X-Model-Version", "X-Image")
CONDA = "conda_dependencies.yml"


class Link(msgspec.Struct, kw_only=True):
    """One link of the chain: what identifies it, and what is known of it. `faults` say what is not as it should be, as
    far as it was `checked`.
    """

    link: str
    id: str
    facts: dict[str, Any] = msgspec.field(default_factory=dict)
    checked: bool = False
    faults: list[str] = msgspec.field(default_factory=list)


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """What serves, and what the platform has of it: None or empty where it has nothing any more."""

    target: str
    service: str
    scoring_uri: str
    trouble: str
    name: str
    version: int
    image: str
    content: Path | None
    model: ModelVersion | None
    promotion: Production | None


def serving(context: Context, target: str) -> Serving:
    """Ask a service who answers, and the platform what that is. Raises ReleaseError where none answers, or no name."""
    service, platform = service_of(context, target), context.platform
    found = platform.find_service(service)
    if found is None:
        raise ReleaseError(f"service {service.name} was never deployed\n`invoke {target}` deploys it")
    try:
        answer = Client(found.scoring_uri, platform.keys(service)[0].reveal()).ask(method="GET")
    except OSError as error:
        raise ReleaseError(f"service {service.name} does not answer: {found.trouble or error}") from None
    name, version, image = (answer.headers.get(header, "") for header in HEADERS)
    if not version.isdigit() or not image:
        raise ReleaseError(
            f"service {service.name} does not say what it is: status {answer.status}, X-Model-Version {version!r}\n"
            "service/score.py has to answer with the headers that docs/own-model.md names"
        )
    promoted = (one for one in platform.history() if (one.version, one.image) == (int(version), image))
    return Serving(
        target=target,
        service=service.name,
        scoring_uri=found.scoring_uri,
        trouble=found.trouble,
        name=name,
        version=int(version),
        image=image,
        content=content_of(context, image),
        model=platform.find_model(int(version)),
        promotion=next(promoted, None),
    )


def content_of(context: Context, image: str) -> Path | None:
    """Return an image's content, None where it is not there."""
    try:
        return context.platform.image_content(image)
    except ReleaseError:
        return None


def links_from(context: Context, found: Serving) -> list[Link]:
    """Return the links from the service back to its data."""
    links = [service_link(found), image_link(context, found), model_link(found)]
    if found.model:
        links += [run_link(found.model), commit_link(context, found.model), data_link(context, found.model)]
    return [*links, environment_link(found), promotion_link(found)]


def service_link(found: Serving) -> Link:
    """Tell which service answers, and as what."""
    answers = {"model": found.name, "version": found.version, "image": found.image}
    return Link(link="service", id=found.service, facts={"address": found.scoring_uri, **answers})


def image_link(context: Context, found: Serving) -> Link:
    """Tell where the image is, and what it holds."""
    link = Link(link="image", id=found.image)
    if found.content is None:
        link.faults.append(f"image {found.image[:12]} is not there any more")
        return link
    link.facts["location"] = context.platform.find_image(found.image)
    link.facts["files"] = sorted(path.name for path in (found.content / "service").glob("*") if path.is_file())
    return link


def model_link(found: Serving) -> Link:
    """Tell which version of the registry it is."""
    model, link = found.model, Link(link="model", id=f"{found.name} version {found.version}")
    if model is None:
        link.faults.append(f"{link.id} is not in the registry any more")
        return link
    told = {"sha256": model.sha256, "registered": model.created_at}
    link.facts = told | {name: model.tags[name] for name in ("metric", "outcome") if name in model.tags}
    return link


def run_link(model: ModelVersion) -> Link:
    """Tell which run made the model, where, when and with what parameters."""
    inputs = lineage.inputs_of(model.tags)
    facts: dict[str, Any] = {
        "where": model.tags.get("compute"),
        "host": model.tags.get("host"),
        "environment": model.tags.get("environment"),
        "when": model.tags.get("trained_at"),
        "python": model.tags.get("python") or inputs.get("python"),
    }
    facts["parameters"] = {name: json.loads(value) for name, value in lineage.parameters_of(inputs).items()}
    return Link(link="run", id=model.run_id, facts={name: value for name, value in facts.items() if value})


def commit_link(context: Context, model: ModelVersion) -> Link:
    """Tell from which commit it was trained, and whether this clone has it."""
    whole, root = model.tags.get("commit", ""), context.settings.root
    commit = whole.removesuffix(DIRTY)
    link = Link(link="commit", id=commit or "not known, it was trained outside of git")
    if commit:
        link.facts["subject"] = git(root, "log", "-1", "--format=%s", commit) or "not in this clone"
        link.facts["files"] = "not all committed" if whole.endswith(DIRTY) else "as committed"
    there = names_of(root, commit)
    inputs = lineage.inputs_of(model.tags) if there else {}
    if missing := [name for name, value in inputs.items() if value.startswith(FILE) and name not in there]:
        link.facts["not_in_it"] = missing
    return link


def data_link(context: Context, model: ModelVersion) -> Link:
    """Tell what identifies the data."""
    link = Link(link="data", id=model.tags.get("data", ""))
    try:
        link.facts = read_data(context.platform.output(model.run_id, "data.json"))
    except ReleaseError as error:
        link.faults.append(str(error).splitlines()[0])
    return link


def environment_link(found: Serving) -> Link:
    """Tell which environment serves, and whether the model was trained with the same."""
    link = Link(link="environment", id="")
    if found.content and (found.content / CONDA).is_file():
        link.id = digest_file(found.content / CONDA)
        try:
            link.facts["packages"] = pins(found.content / CONDA)
        except ReleaseError as error:
            link.faults.append(str(error).splitlines()[0])
    trained = lineage.inputs_of(found.model.tags).get(f"config/{CONDA}", "") if found.model else ""
    if trained:
        same = f"sha256:{link.id}".startswith(trained)
        link.facts["trained_with"] = "the same" if same else f"another, {trained}"
    return link


def promotion_link(found: Serving) -> Link:
    """Tell who moved the production pointer there, when, and on what evidence."""
    if found.promotion is None:
        return Link(link="promotion", id="never promoted")
    return Link(link="promotion", id=found.promotion.since, facts={**found.promotion.evidence})
