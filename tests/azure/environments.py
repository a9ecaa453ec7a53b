"""Registered environments: a version is given to content that differs from the last."""

import json
from typing import Any

from flask import Blueprint, request

from tests.azure.state import Record
from tests.azure.web import SCOPE, Problem, body, here, workspace

web = here(Blueprint("environments", __name__, url_prefix=f"/environment/v1.0{SCOPE}/environments"))
NAMES = {"Name": "name", "EnvironmentVariables": "environmentVariables", "Docker": "docker", "Spark": "spark"}
OTHER = {"InferencingStackVersion": "inferencingStackVersion"}


def digest(found: Record) -> str:
    """Return what makes an environment the same."""
    return json.dumps({key: value for key, value in found.items() if key != "version"}, sort_keys=True)


@web.put("/<name>")
@web.put("/<name>/versions/<version>")
def register(name: str, version: str = "None") -> Any:
    """Register an environment; the same content gets the version that it has."""
    made = {(NAMES | OTHER).get(key, key): value for key, value in body().items()}
    versions = workspace.environments.setdefault(name, [])
    for known in versions:
        if digest(known) == digest(made) and version in ("None", known["version"]):
            return known
    if version != "None" and any(known["version"] == version for known in versions):
        raise Problem(409, "UserError", f"Environment {name} version {version} is registered with other content")
    made["version"] = version if version != "None" else str(workspace.next_version("environment", name))
    versions.append(made)
    return made


@web.get("/<name>/versions/<version>/image")
def get_image(name: str, version: str) -> Any:
    """Say that the image of an environment has not been built; a package or a run builds it."""
    find(name, version)
    return {"imageExistsInRegistry": False, "dockerImage": None, "condaEnvironmentSpecification": None}


@web.get("/<name>")
def get_latest(name: str) -> Any:
    """Return the latest version of an environment."""
    return find(name)


@web.get("/<name>/versions/<version>")
def get_version(name: str, version: str) -> Any:
    """Return a version of an environment."""
    return find(name, version)


@web.get("/<name>/labels/<label>")
def get_label(name: str, label: str) -> Any:
    """Return a labelled version; there is only the label that every environment has."""
    if label.lower() != "latest":
        raise Problem(404, "UserError", f"Environment {name} has no label {label}")
    return find(name)


def find(name: str, version: str | None = None) -> Record:
    """Return an environment. Raises Problem where there is none."""
    versions = workspace.environments.get(name, [])
    for known in reversed(versions):
        if version in (None, "None", known["version"]):
            return known
    raise Problem(404, "UserError", f"Environment {name} version {version} was not found in workspace")


@web.get("/")
def list_environments() -> Any:
    """List the latest version of each environment."""
    prefix = request.args.get("prefix", "")
    latest = [versions[-1] for name, versions in workspace.environments.items() if name.startswith(prefix)]
    return {"value": latest, "continuationToken": None}
