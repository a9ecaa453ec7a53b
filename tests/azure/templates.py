"""Deployments of Azure Resource Manager's templates: how a workspace is created."""

from typing import Any

from flask import Blueprint, jsonify

from tests.azure.arm import GROUP, MACHINE_LEARNING, find_group, show, subscribe
from tests.azure.state import Record, new_id, now
from tests.azure.web import body, missing, state

web = Blueprint("templates", __name__)
web.url_value_preprocessor(subscribe)
DEPLOYMENT = f"{GROUP}/providers/Microsoft.Resources/deployments/<name>"


@web.put(DEPLOYMENT)
def deploy(subscription: str, group: str, name: str) -> Any:
    """Deploy a template: its workspace is created, and everything else in it is remembered."""
    scope = find_group(subscription, group)["id"]
    template = body()["properties"]["template"]
    path = f"{scope}/providers/Microsoft.Resources/deployments/{name}"
    fault = state.faults.take(f"deployment {name}", "failed", "never-ending")
    status = {"failed": "Failed", "never-ending": "Running"}.get(fault.kind if fault else "", "Succeeded")
    made = [create(scope, group, resource) for resource in template["resources"]] if status == "Succeeded" else []
    properties: Record = {
        "provisioningState": status,
        "mode": "Incremental",
        "timestamp": now(),
        "duration": "PT0M1S",
        "correlationId": new_id(),
        "outputResources": [{"id": one["id"]} for one in made],
    }
    if status == "Failed":
        message = (fault and fault.message) or "At least one resource deployment operation failed."
        properties["error"] = {"code": "DeploymentFailed", "message": message}
    state.deployments[path.lower()] = {
        "id": path,
        "name": name,
        "type": "Microsoft.Resources/deployments",
        "properties": properties,
        "operations": made,
    }
    polling = f"https://management.azure.com{path}/operationStatuses/{new_id()}?api-version=2019-05-01"
    return (
        jsonify(get_deployment(subscription, group, name)),
        201,
        {"Azure-AsyncOperation": polling, "Retry-After": "0"},
    )


@web.get("/subscriptions/<subscription>/providers/Microsoft.Resources/deployments")
@web.get(f"{GROUP}/providers/Microsoft.Resources/deployments")
def list_deployments(subscription: str, group: str = "") -> Any:
    """List deployments."""
    return {
        "value": [
            show_deployment(one) for one in state.deployments.values() if f"/{group.lower()}" in one["id"].lower()
        ]
    }


@web.get(DEPLOYMENT)
def get_deployment(subscription: str, group: str, name: str) -> Any:
    """Return a deployment."""
    return show_deployment(find_deployment(subscription, group, name))


def show_deployment(found: Record) -> Record:
    """Return a deployment as Azure shows it."""
    return {key: value for key, value in found.items() if key != "operations"}


@web.get(f"{DEPLOYMENT}/operationStatuses/<operation>")
def deployment_status(subscription: str, group: str, name: str, operation: str) -> Any:
    """Return the state of a deployment."""
    properties = find_deployment(subscription, group, name)["properties"]
    return {"status": properties["provisioningState"]} | {k: properties[k] for k in ("error",) if k in properties}


@web.get(f"{DEPLOYMENT}/operations")
@web.get(f"{GROUP}/deployments/<name>/operations")
def deployment_operations(subscription: str, group: str, name: str) -> Any:
    """List what a deployment made."""
    found = find_deployment(subscription, group, name)
    status = found["properties"]["provisioningState"]
    done = [
        {
            "id": f"{found['id']}/operations/{one['name']}",
            "operationId": one["name"],
            "properties": {
                "provisioningState": status,
                "provisioningOperation": "Create",
                "duration": "PT0M1S",
                "timestamp": now(),
                "targetResource": {"id": one["id"], "resourceType": one["type"], "resourceName": one["name"]},
            },
        }
        for one in found["operations"]
    ]
    return {"value": done}


def find_deployment(subscription: str, group: str, name: str) -> Record:
    """Return a deployment. Raises Problem where there is none."""
    scope = find_group(subscription, group)["id"]
    found = state.deployments.get(f"{scope}/providers/Microsoft.Resources/deployments/{name}".lower())
    if found is None:
        raise missing(f"Deployment '{name}' could not be found.")
    return found


def create(scope: str, group: str, resource: Record) -> Record:
    """Create a resource of a template."""
    kind, name, location = resource["type"], resource["name"], resource.get("location", "")
    if kind == f"{MACHINE_LEARNING}/workspaces":
        made = state.workspace(name, group, location, resource.get("tags"))
        made.friendly_name = resource["properties"].get("friendlyName") or ""
        return show(made)
    path = f"{scope}/providers/{kind}/{name}"
    record = {"id": path, "name": name, "type": kind, "location": location, "tags": resource.get("tags") or {}}
    return state.resources.setdefault(path.lower(), record)
