"""Artifacts: the files of runs and models, as names of blobs with signed addresses."""

from typing import Any

from flask import Blueprint, current_app, request

from tests.azure.state import Record, Workspace, now
from tests.azure.web import SCOPE, Problem, body, here, state, workspace

web = here(Blueprint("artifacts", __name__, url_prefix=f"/artifact/v2.0{SCOPE}/artifacts"))
PLACE = "/<origin>/<container>"


def normal(path: str) -> str:
    """Return a path as it is stored: the SDK says ./outputs/x as well as outputs/x."""
    return "/".join(part for part in path.replace("\\", "/").split("/") if part not in ("", "."))


def create(where: Workspace, origin: str, container: str, path: str) -> Record:
    """Create an artifact that has no content yet, unless it is there."""
    path = normal(path)
    made = {
        "artifactId": f"{origin}/{container}/{path}",
        "origin": origin,
        "container": container,
        "path": path,
        "etag": '"0"',
        "createdTime": now(),
        "dataPath": {
            "dataStoreName": "workspaceartifactstore",
            "relativePath": f"{origin}/{container}/{path}",
            "sqlDataPath": None,
        },
        "blob": f"{origin}/{container}/{path}",
        "tags": {},
    }
    return where.artifacts.setdefault(f"{origin}/{container}", {}).setdefault(path, made)


def show(artifact: Record) -> Record:
    """Return an artifact as Azure shows it."""
    return {name: value for name, value in artifact.items() if name != "blob"}


def content(artifact: Record, permissions: str = "r") -> Record:
    """Return an artifact's address."""
    kept = {name: artifact[name] for name in ("origin", "container", "path", "tags")}
    return {"contentUri": state.storage.address(workspace.container, artifact["blob"], permissions)} | kept


def find(origin: str, container: str, path: str) -> Record:
    """Return an artifact. Raises Problem where there is none."""
    found = workspace.artifacts.get(f"{origin}/{container}", {}).get(normal(path))
    if found is None:
        raise Problem(404, "UserError", f"Could not find artifact {origin}/{container}/{path}")
    return found


def below(origin: str, container: str, prefix: str) -> list[Record]:
    """Return the artifacts whose path begins with a prefix, a folder or a file."""
    start, found = normal(prefix), workspace.artifacts.get(f"{origin}/{container}", {})
    return [one for path, one in sorted(found.items()) if not start or path == start or path.startswith(f"{start}/")]


@web.post(f"/batch/metadata{PLACE}")
def create_batch(origin: str, container: str) -> Any:
    """Create artifacts, and say where their content is to be put."""
    made = {one["path"]: create(*(workspace, origin, container, one["path"])) for one in body()["paths"]}
    return {
        "artifacts": {path: show(one) for path, one in made.items()},
        "artifactContentInformation": {path: content(one, "rwdlac") for path, one in made.items()},
        "errors": {},
    }


@web.get(f"/metadata{PLACE}/<path:path>")
def metadata(origin: str, container: str, path: str) -> Any:
    """Return an artifact."""
    return show(find(origin, container, path))


@web.get(f"/contentinfo{PLACE}/<path:path>")
def content_information(origin: str, container: str, path: str) -> Any:
    """Return an artifact's address."""
    return content(find(origin, container, path))


@web.get(f"/write{PLACE}/<path:path>")
def write(origin: str, container: str, path: str) -> Any:
    """Return an address to write to."""
    return content(create(workspace, origin, container, path), "rwdlac")


@web.get(f"/prefix/contentinfo{PLACE}/")
@web.get(f"/prefix/contentinfo{PLACE}/<path:path>")
def content_below(origin: str, container: str, path: str = "") -> Any:
    """List the addresses of a folder's artifacts."""
    return {"value": [content(one) for one in below(origin, container, path)], "continuationToken": None}


@web.get(PLACE)
@web.get(f"{PLACE}/<path:path>")
def list_artifacts(origin: str, container: str, path: str = "") -> Any:
    """List artifacts."""
    return {"value": [show(one) for one in below(origin, container, path)], "continuationToken": None}


@web.post(f"/content{PLACE}/<path:path>")
def upload(origin: str, container: str, path: str) -> Any:
    """Take an artifact's content itself."""
    made = create(workspace, origin, container, path)
    old = state.storage.read(workspace.container, made["blob"]) if request.args.get("append") == "true" else None
    state.storage.write(workspace.container, made["blob"], (old or b"") + request.get_data())
    return show(made)


@web.get(f"/content{PLACE}/<path:path>")
def download(origin: str, container: str, path: str) -> Any:
    """Return an artifact's content itself."""
    data = state.storage.read(workspace.container, find(origin, container, path)["blob"])
    return current_app.response_class(data or b"", mimetype="application/octet-stream")
