"""`invoke trace`: from a service back to its image, model, run, commit, data and environment, link by link."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from lib.environment import lock
from lib.errors import ReleaseError
from lib.explain.serving import Serving
from lib.files import digest_file
from lib.git import DIRTY, git, names_of
from lib.image.assemble import REQUIREMENTS
from lib.platforms.base import ModelVersion
from lib.platforms.outputs import read_data
from lib.release import lineage
from lib.release.fingerprints import FILE
from lib.release.steps.step import Context
from lib.settings import conda
from lib.terminal.progress import colour

WIDTH = 13


class Link(msgspec.Struct, kw_only=True):
    """One link of the chain: its identifier, facts about it, and its faults. --verify sets `checked`."""

    link: str
    id: str
    facts: dict[str, Any] = msgspec.field(default_factory=dict)
    checked: bool = False
    faults: list[str] = msgspec.field(default_factory=list)


def links(context: Context, serving: Serving) -> list[Link]:
    """Return the links from the service back to its data."""
    chain = [_service(serving), _image(context, serving), _model(serving)]
    if serving.model:
        chain += [_run(serving.model), _commit(context, serving.model), _data(context, serving.model)]
    return [*chain, _environment(serving), _promotion(serving)]


def as_json(links: list[Link]) -> str:
    """Return the links as JSON, by name."""
    return msgspec.json.format(msgspec.json.encode({link.link: link for link in links}), indent=2).decode()


def as_text(links: list[Link]) -> str:
    """Return the links as text, a block for each."""
    return "\n".join(line for link in links for line in _block(link))


def _service(serving: Serving) -> Link:
    answers = {"model": serving.name, "version": serving.version, "image": serving.image}
    return Link(link="service", id=serving.service, facts={"address": serving.scoring_uri, **answers})


def _image(context: Context, serving: Serving) -> Link:
    link = Link(link="image", id=serving.image)
    if serving.content is None:
        link.faults.append(f"image {serving.image[:12]} no longer exists")
        return link
    link.facts["location"] = context.platform.images.find(serving.image)
    link.facts["files"] = sorted(path.name for path in (serving.content / "service").glob("*") if path.is_file())
    return link


def _model(serving: Serving) -> Link:
    model, link = serving.model, Link(link="model", id=f"{serving.name} version {serving.version}")
    if model is None:
        link.faults.append(f"{link.id} is no longer in the registry")
        return link
    link.facts = {"sha256": model.sha256, "registered": model.created_at}
    link.facts |= {name: model.tags[name] for name in ("metric", "outcome") if name in model.tags}
    return link


def _run(model: ModelVersion) -> Link:
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


def _commit(context: Context, model: ModelVersion) -> Link:
    tag, root = model.tags.get("commit", ""), context.settings.root
    commit = tag.removesuffix(DIRTY)
    link = Link(link="commit", id=commit or "unknown: the model was trained outside git")
    if commit:
        link.facts["subject"] = git(root, "log", "-1", "--format=%s", commit) or "not in this clone"
        link.facts["files"] = "not all committed" if tag.endswith(DIRTY) else "as committed"
    names = names_of(root, commit)
    inputs = lineage.inputs_of(model.tags) if names else {}
    if absent := [name for name, value in inputs.items() if value.startswith(FILE) and name not in names]:
        link.facts["not_in_it"] = absent
    return link


def _data(context: Context, model: ModelVersion) -> Link:
    link = Link(link="data", id=model.tags.get("data", ""))
    try:
        link.facts = read_data(context.platform.runs.output(model.run_id, "data.json"))
    except ReleaseError as error:
        link.faults.append(str(error).splitlines()[0])
    return link


def _environment(serving: Serving) -> Link:
    link = Link(link="environment", id="")
    if serving.content and (serving.content / conda.NAME).is_file():
        link.id = digest_file(serving.content / conda.NAME)
        packages = lock.parse((serving.content / REQUIREMENTS).read_text()).model
        link.facts["packages"] = dict(line.partition(" ;")[0].split("==") for line in packages if "==" in line)
    trained_with = lineage.inputs_of(serving.model.tags).get(conda.PATH, "") if serving.model else ""
    if trained_with:
        same = f"sha256:{link.id}".startswith(trained_with)  # tags have shortened digests
        link.facts["trained_with"] = "the same" if same else f"another, {trained_with}"
    return link


def _promotion(serving: Serving) -> Link:
    if serving.promotion is None:
        return Link(link="promotion", id="never promoted")
    return Link(link="promotion", id=serving.promotion.since, facts={**serving.promotion.evidence})


def _block(link: Link) -> Iterator[str]:
    word = colour("  broken", "failed") if link.faults else colour("  ok", "done") if link.checked else ""
    yield f"{link.link:<{WIDTH}}{link.id}{word}"
    for name, value in link.facts.items():
        if value not in ("", None):
            yield f"{'':<{WIDTH}}{name.replace('_', ' ')}: {_line(value)}"
    for fault in link.faults:
        yield f"{'':<{WIDTH}}{colour(fault, 'failed')}"


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
