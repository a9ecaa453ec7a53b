"""Azure Resource Manager: subscription, resource groups and workspaces."""

from typing import Any

from flask import Blueprint, jsonify, request

from tests.azure.state import REGIONS, Record, Workspace, new_id
from tests.azure.storage import ACCOUNT
from tests.azure.web import SCOPE, Problem, body, find_workspace, state

web = Blueprint("arm", __name__)
GROUP = "/subscriptions/<subscription>/resourceGroups/<group>"
MACHINE_LEARNING = "Microsoft.MachineLearningServices"


@web.url_value_preprocessor
def subscribe(endpoint: str | None, values: Record | None) -> None:
    """Refuse every subscription but the one there is."""
    given = (values or {}).get("subscription", state.identity.subscription)
    if given != state.identity.subscription:
        raise Problem(404, "SubscriptionNotFound", f"The subscription '{given}' could not be found.")


@web.get("/subscriptions")
def subscriptions() -> Any:
    """List the one subscription."""
    subscription = {
        "id": f"/subscriptions/{state.identity.subscription}",
        "subscriptionId": state.identity.subscription,
        "tenantId": state.identity.tenant,
        "displayName": "Loopback",
        "state": "Enabled",
        "authorizationSource": "RoleBased",
    }
    return {"value": [subscription], "count": {"type": "Total", "value": 1}}


@web.get(f"/subscriptions/<subscription>/providers/{MACHINE_LEARNING}")
def provider(subscription: str) -> Any:
    """Describe the resource provider."""
    kinds = [{"resourceType": kind, "locations": REGIONS} for kind in ("workspaces", "workspaces/computes")]
    return {"namespace": MACHINE_LEARNING, "registrationState": "Registered", "resourceTypes": kinds}


@web.route(GROUP, methods=["GET", "HEAD"])
def get_group(subscription: str, group: str) -> Any:
    """Return a resource group."""
    return find_group(subscription, group)


@web.put(GROUP)
def put_group(subscription: str, group: str) -> Any:
    """Create a resource group."""
    given = body()
    return jsonify(state.group(group, given["location"], given.get("tags"))), 201


@web.delete(GROUP)
def delete_group(subscription: str, group: str) -> Any:
    """Delete a resource group with everything in it."""
    scope = find_group(subscription, group)["id"].lower()
    for found in [one for key, one in state.workspaces.items() if key.startswith(f"{scope}/")]:
        found.stop()
    for things in (state.groups, state.workspaces, state.resources, state.deployments):
        for key in [key for key in things if key == scope or key.startswith(f"{scope}/")]:
            del things[key]
    return "", 200


def find_group(subscription: str, group: str) -> Record:
    """Return a resource group. Raises Problem where there is none."""
    found = state.groups.get(f"/subscriptions/{subscription}/resourceGroups/{group}".lower())
    if found is None:
        raise Problem(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")
    return found


@web.get("/subscriptions/<subscription>/resources")
@web.get(f"{GROUP}/resources")
def resources(subscription: str, group: str = "") -> Any:
    """List resources, those of one group or type if asked."""
    wanted = request.args.get("$filter", "").lower()
    found = [*state.resources.values(), *(show(one) for one in state.workspaces.values())]
    kinds = [one for one in found if not wanted or one["type"].lower() in wanted]
    return {"value": [one for one in kinds if f"/resourcegroups/{group.lower()}" in one["id"].lower()]}


@web.delete(f"{GROUP}/providers/<provider>/<kind>/<name>")
def delete_resource(subscription: str, group: str, provider: str, kind: str, name: str) -> Any:
    """Delete a dependent resource, as the SDK does where a workspace could not be created."""
    path = f"{find_group(subscription, group)['id']}/providers/{provider}/{kind}/{name}"
    return "", 200 if state.resources.pop(path.lower(), None) else 204


@web.get(SCOPE)
def get_workspace(subscription: str, group: str, workspace: str) -> Any:
    """Return a workspace."""
    return show(find_workspace(subscription, group, workspace))


@web.get(f"{GROUP}/providers/{MACHINE_LEARNING}/workspaces")
@web.get(f"/subscriptions/<subscription>/providers/{MACHINE_LEARNING}/workspaces")
def list_workspaces(subscription: str, group: str = "") -> Any:
    """List workspaces."""
    return {"value": [show(one) for one in state.workspaces.values() if group.lower() in ("", one.group.lower())]}


@web.patch(SCOPE)
def patch_workspace(subscription: str, group: str, workspace: str) -> Any:
    """Change a workspace's tags and descriptions."""
    found, given = find_workspace(subscription, group, workspace), body()
    found.tags = found.tags if given.get("tags") is None else given["tags"]
    properties = given.get("properties", {})
    found.description = properties.get("description") or found.description
    found.friendly_name = properties.get("friendlyName") or found.friendly_name
    return show(found)


@web.delete(SCOPE)
def delete_workspace(subscription: str, group: str, workspace: str) -> Any:
    """Delete a workspace, but not its dependent resources."""
    found = find_workspace(subscription, group, workspace)
    found.stop()
    del state.workspaces[found.scope.lower()]
    return "", 200


@web.post(f"{SCOPE}/listKeys")
def workspace_keys(subscription: str, group: str, workspace: str) -> Any:
    """Return the keys of what belongs to a workspace."""
    found = find_workspace(subscription, group, workspace)
    return {
        "userStorageKey": state.storage.key,
        "userStorageResourceId": show(found)["properties"]["storageAccount"],
        "containerRegistryCredentials": {
            "location": found.location,
            "username": "loopbackregistry",
            "passwords": [{"name": "password", "value": new_id()}],
        },
    }


def show(found: Workspace) -> Record:
    """Return a workspace as Azure shows it."""
    providers = found.scope.split("/Microsoft.MachineLearningServices")[0]
    region = found.location.lower().replace(" ", "")
    return {
        "id": found.scope,
        "name": found.name,
        "type": f"{MACHINE_LEARNING}/workspaces",
        "location": region,
        "tags": found.tags,
        "etag": None,
        "sku": {"name": "Basic", "tier": "Basic"},
        "identity": {"type": "SystemAssigned", "principalId": found.id, "tenantId": state.identity.tenant},
        "properties": {
            "friendlyName": found.friendly_name or found.name,
            "description": found.description,
            "storageAccount": f"{providers}/Microsoft.Storage/storageAccounts/{ACCOUNT}",
            "containerRegistry": f"{providers}/Microsoft.ContainerRegistry/registries/loopbackregistry",
            "keyVault": f"{providers}/Microsoft.KeyVault/vaults/loopbackvault",
            "applicationInsights": f"{providers}/Microsoft.insights/components/loopbackinsights",
            "hbiWorkspace": False,
            "allowPublicAccessWhenBehindVnet": False,
            "provisioningState": found.provisioning,
            "creationTime": found.created,
            "workspaceId": found.id,
            "discoveryUrl": f"https://{region}.api.azureml.ms/discovery",
            "v1LegacyMode": False,
        },
    }
