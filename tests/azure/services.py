"""Web services on ACI and AKS: the records that the SDK reads and changes. Deployments let them serve."""

import secrets
from typing import Any

from flask import Blueprint, jsonify, request

from tests.azure import deployments
from tests.azure.models import MANAGEMENT, has, patch
from tests.azure.operations import begin
from tests.azure.service_records import KINDS, describe, show, used_models
from tests.azure.state import Record, now
from tests.azure.web import Problem, body, here, state, workspace

web = here(Blueprint("services", __name__, url_prefix=MANAGEMENT))
QUOTA = "There is not enough quota for the service: {message}"
CONTENT = ("imageId", "environmentImageRequest")


@web.post("/services/validate/name/<name>")
def validate_name(name: str) -> Any:
    """Say whether a name is free."""
    return complain(
        f"Service {name} already exists, please use a different service name." * (name in workspace.services)
    )


@web.post("/services/validate")
def validate() -> Any:
    """Say whether a service can be created, changed or deleted so."""
    given = body()
    if given["type"] == "Create":
        return complain(objection(given["createRequest"]))
    return complain("" if given["serviceName"] in workspace.services else f"Service {given['serviceName']} not found")


@web.post("/services/validate/resource")
def validate_resource() -> Any:
    """Say whether there is quota for a service."""
    fault = state.faults.take(f"service {body()['name']}", "quota")
    return complain(QUOTA.format(message=fault.message or "0 of 4 cores are left") if fault else "")


def complain(message: str) -> Any:
    """Answer a question of validity: the SDK reads the error of a good answer."""
    return {"error": {"code": "BadRequest", "message": message}} if message else {}


def objection(given: Record) -> str:
    """Say why a service cannot be created so, or nothing."""
    if given["computeType"] not in KINDS:
        return f"the loopback Azure does not know services on {given['computeType']}"
    compute = workspace.computes.get(given.get("computeName") or "")
    if given["computeType"] == "AKS" and (compute is None or compute["properties"]["computeType"] != "AKS"):
        return f"Compute target {given.get('computeName')} is not found or is not an AKS cluster"
    if not (given.get("imageId") or given.get("environmentImageRequest")):
        return "The service has neither an image nor an environment"
    if given.get("imageId") and given["imageId"] not in workspace.images:
        return f"Image {given['imageId']} not found"
    return ""


@web.post("/services")
def create() -> Any:
    """Create a service, or change one that may be overwritten."""
    given = body()
    name = given["name"]
    if message := objection(given):
        raise Problem(400, "BadRequest", message)
    if name in workspace.services and not given.get("overwrite"):
        raise Problem(409, "ServiceExists", f"Service {name} already exists")
    made = describe(given)
    known = workspace.services.get(name)
    if known:
        made["createdTime"] = known["createdTime"]
    workspace.services[name] = made
    operation = deployments.begin_rollout(made, "Service")
    return jsonify(show(made)), 202, operation.header(workspace)


def find(name: str) -> Record:
    """Return a service. Raises Problem where there is none."""
    if name not in workspace.services:
        raise Problem(404, "WebserviceNotFound", f"Service {name} not found")
    return workspace.services[name]


@web.get("/services/<name>")
def get_service(name: str) -> Any:
    """Return a service."""
    return show(find(name))


@web.get("/services")
def list_services() -> Any:
    """List services that meet the query."""
    wanted, found = request.args, [show(one) for one in workspace.services.values()]
    for name in ("computeType", "imageId"):
        if name in wanted:
            found = [one for one in found if one[name] == wanted[name]]
    for name, field in (("modelId", "id"), ("modelName", "name")):
        if name in wanted:
            found = [one for one in found if wanted[name] in [model[field] for model in one["models"]]]
    if "imageName" in wanted:
        found = [one for one in found if (one["imageId"] or "").split(":")[0] == wanted["imageName"]]
    for name, field in (("tags", "kvTags"), ("properties", "properties")):
        if name in wanted:
            found = [one for one in found if has(one[field], wanted[name])]
    return {"value": found}


@web.patch("/services/<name>")
def patch_service(name: str) -> Any:
    """Change a service; another content is rolled out."""
    found, changes = find(name), request.get_json(force=True)
    parts = {one["path"].strip("/").split("/")[0] for one in changes}
    if unknown := parts - found.keys() - {"namespace"}:
        raise Problem(400, "BadRequest", f"A service has no {', '.join(unknown)}")
    patch(found, changes)
    found |= {"updatedTime": now(), "uses": used_models(found)}
    if not parts & {*CONTENT}:
        operation = begin(workspace, "Service")
        operation.end()
        return show(found) | {"operationId": operation.id}
    return "", 202, deployments.begin_rollout(found, "Service").header(workspace)


@web.delete("/services/<name>")
def delete_service(name: str) -> Any:
    """Delete a service."""
    if name not in workspace.services:
        return "", 204
    del workspace.services[name]
    workspace.serving[name].replace(None)
    return "", 200


@web.post("/services/<name>/listkeys")
def list_keys(name: str) -> Any:
    """Return the keys of a service."""
    return find(name)["keys"]


@web.post("/services/<name>/regenerateKeys")
def regenerate_keys(name: str) -> Any:
    """Replace one of the keys of a service."""
    given = body()
    find(name)["keys"][f"{given['keyType'].lower()}Key"] = given.get("keyValue") or secrets.token_urlsafe(24)
    operation = begin(workspace, "Service")
    operation.end()
    return "", 202, operation.header(workspace)


@web.get("/services/<name>/logs")
def logs(name: str) -> Any:
    """Return the end of the log of the latest container."""
    find(name)
    files = workspace.serving[name].logs
    lines = files[-1].read_text(errors="replace").splitlines() if files else []
    return {"content": "\n".join(lines[-int(request.args.get("tail") or 5000) :])}
