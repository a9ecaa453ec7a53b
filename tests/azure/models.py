"""The registry of models, and the assets that they are made of."""

from typing import Any

from flask import Blueprint, request

from tests.azure.state import Record, State, Workspace, new_id, now
from tests.azure.web import SCOPE, Problem, body, here, workspace

MANAGEMENT = f"/modelmanagement/v1.0{SCOPE}"
web = here(Blueprint("models", __name__, url_prefix=MANAGEMENT))


@web.post("/assets")
def create_asset() -> Any:
    """Create an asset."""
    given = body()
    made = {"id": new_id(), "type": None, "description": None, "kvTags": {}, "properties": {}, "meta": {}} | given
    made["createdTime"] = now()
    workspace.assets[made["id"]] = made
    return made


@web.get("/assets")
def list_assets() -> Any:
    """List assets."""
    wanted = {key: request.args[key] for key in ("runid", "name", "type") if key in request.args}
    found = [one for one in workspace.assets.values() if all(one.get(key) == wanted[key] for key in wanted)]
    return {"value": found, "nextLink": None}


@web.get("/assets/<asset>")
def get_asset(asset: str) -> Any:
    """Return an asset."""
    return find_asset(asset)


@web.patch("/assets/<asset>")
def patch_asset(asset: str) -> Any:
    """Change an asset."""
    return patch(find_asset(asset), request.get_json(force=True))


def find_asset(asset: str) -> Record:
    """Return an asset. Raises Problem where there is none."""
    if asset not in workspace.assets:
        raise Problem(404, "AssetNotFound", f"Asset with id {asset} not found")
    return workspace.assets[asset]


@web.post("/models")
def register() -> Any:
    """Register a model, as the next version of its name."""
    given = body()
    if (asset := (given.get("url") or "").removeprefix("aml://asset/")) not in workspace.assets:
        raise Problem(400, "BadRequest", f"Asset {asset} of the model does not exist")
    version = workspace.next_version("model", given["name"])
    made = {
        "id": f"{given['name']}:{version}",
        "name": given["name"],
        "version": version,
        "framework": "Custom",
        "frameworkVersion": None,
        "description": None,
        "url": None,
        "mimeType": "application/x-python",
        "unpack": False,
        "createdTime": now(),
        "modifiedTime": now(),
        "experimentName": None,
        "runId": None,
        "datasets": [],
        "kvTags": {},
        "properties": {},
        "parentModelId": None,
        "derivedModelIds": [],
        "sampleInputData": None,
        "sampleOutputData": None,
        "resourceRequirements": None,
        "createdBy": {"userObjectId": None, "userName": "loopback"},
    }
    made |= {key: value for key, value in given.items() if value is not None and key not in ("id", "version")}
    workspace.models[made["id"]] = made
    return made


@web.get("/models")
def list_models() -> Any:
    """List models that meet the query, the latest first."""
    wanted, found = request.args, list(reversed(workspace.models.values()))
    for name, field in (("name", "name"), ("framework", "framework"), ("runId", "runId")):
        if name in wanted:
            found = [one for one in found if one[field] == wanted[name]]
    for name, field in (("tags", "kvTags"), ("tag", "kvTags"), ("properties", "properties")):
        if name in wanted:
            found = [one for one in found if has(one[field], wanted[name])]
    if wanted.get("latestVersionOnly", "").lower() == "true":
        latest = dict(sorted((one["name"], one["version"]) for one in found))
        found = [one for one in found if one["version"] == latest[one["name"]]]
    if wanted.get("orderBy") == "CreatedAtAsc":
        found.reverse()
    start, count = int(wanted.get("$skipToken") or 0), int(wanted.get("count") or 255)
    link = f"{request.base_url}?$skipToken={start + count}" if start + count < len(found) else None
    return {"value": found[start : start + count], "nextLink": link}


def has(labels: dict[str, str], query: str) -> bool:
    """Say whether labels meet a query such as a,b=c."""
    for part in query.split(","):
        key, equals, value = part.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


@web.get("/models/<model>")
def get_model(model: str) -> Any:
    """Return a model's version, or its latest one."""
    return find_model(workspace, model)


def find_model(where: Workspace, model: str) -> Record:
    """Return a model by name:version or name. Raises Problem where there is none."""
    found = where.models.get(model)
    if found is None and ":" not in model:
        versions = [one for one in where.models.values() if one["name"] == model]
        found = max(versions, key=lambda one: one["version"], default=None)
    if found is None:
        raise Problem(404, "ModelNotFound", f"Model with id {model} not found", details=[])
    return found


@web.patch("/models/<model>")
def patch_model(model: str) -> Any:
    """Change a model."""
    found = patch(find_model(workspace, model), request.get_json(force=True))
    found["modifiedTime"] = now()
    return found


@web.delete("/models/<model>")
def delete_model(model: str) -> Any:
    """Delete a model that nothing uses."""
    found = find_model(workspace, model)
    users = [one["name"] for one in workspace.services.values() if found["id"] in one["uses"]]
    if users:
        message = f"Model {found['id']} cannot be deleted because it is currently being used in a webservice: {users}"
        raise Problem(409, "ModelInUse", message)
    del workspace.models[found["id"]]
    return "", 200


def patch(found: Record, operations: Any) -> Record:
    """Do what a JSON patch says: add, replace and remove whole members and labels."""
    for one in operations:
        names = [part.replace("~1", "/").replace("~0", "~") for part in one["path"].strip("/").split("/")]
        place = found
        for name in names[:-1]:
            place = place[name]
        if one["op"].lower() == "remove":
            place.pop(names[-1], None)
        elif one["op"].lower() in ("add", "replace"):
            place[names[-1]] = one["value"]
        else:
            raise Problem(400, "BadRequest", f"the loopback Azure does not know the operation {one['op']}")
    return found


def model_files(state: State, where: Workspace, model: Record) -> dict[str, bytes]:
    """Return a model's files by their path below the model's own folder."""
    asset = where.assets[model["url"].removeprefix("aml://asset/")]
    files: dict[str, bytes] = {}
    for artifact in asset["artifacts"]:
        origin, container, path = (artifact.get("id") or artifact["prefix"]).split("/", 2)
        path = "/".join(part for part in path.split("/") if part not in ("", "."))
        parent = path.rpartition("/")[0]
        for name, one in where.artifacts.get(f"{origin}/{container}", {}).items():
            if name == path or name.startswith(f"{path}/"):
                files[name.removeprefix(parent).strip("/")] = state.storage.read(where.container, one["blob"]) or b""
    return files
