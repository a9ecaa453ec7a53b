"""Compute targets: created and attached through Azure Resource Manager, read on the data plane."""

from typing import Any

from flask import Blueprint, jsonify, request

from tests.azure.operations import problem
from tests.azure.state import Record, State, Workspace, new_id, now
from tests.azure.web import SCOPE, Problem, body, here, missing, state, workspace

web = here(Blueprint("compute", __name__, url_prefix=f"{SCOPE}/computes"))
data = here(Blueprint("computedata", __name__, url_prefix=f"/rp/workspaces{SCOPE}/computes"))
SECRETS = ("administratorAccount", "userAccountCredentials")
NODES = {"preparingNodeCount": 0, "runningNodeCount": 0, "idleNodeCount": 0, "unusableNodeCount": 0}
STATES = {"failed": "Failed", "quota": "Failed", "never-ending": "Creating"}
DEFAULTS: dict[str, Record] = {
    "AmlCompute": {
        "vmSize": "STANDARD_NC6",
        "vmPriority": "Dedicated",
        "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 1, "nodeIdleTimeBeforeScaleDown": "PT1800S"},
        "subnet": None,
        "remoteLoginPortPublicAccess": "Enabled",
        "errors": None,
    },
    "VirtualMachine": {"virtualMachineSize": "Standard_DS3_v2", "address": "127.0.0.1", "sshPort": 22},
    "Kubernetes": {"namespace": "default", "defaultInstanceType": None, "instanceTypes": None},
    "AKS": {
        "agentCount": 3,
        "agentVmSize": "Standard_D3_v2",
        "clusterPurpose": "FastProd",
        "clusterFqdn": "loopback.hcp.westeurope.azmk8s.io",
        "systemServices": [],
        "sslConfiguration": None,
        "loadBalancerType": "PublicIp",
        "loadBalancerSubnet": None,
    },
}


@web.put("/<compute>")
def put(compute: str) -> Any:
    """Create a compute target, or attach one that is there already."""
    given = body()
    kind = given["properties"]["computeType"]
    if kind not in DEFAULTS:
        raise Problem(400, "BadRequest", f"the loopback Azure does not know computes of the type {kind}")
    if compute in workspace.computes:
        refuse_other(compute, given["properties"])
    fault = state.faults.take(f"compute {compute}", "failed", "never-ending", "quota")
    made = describe(compute, given, kind)
    made["properties"]["provisioningState"] = STATES[fault.kind] if fault else "Succeeded"
    if fault and fault.kind != "never-ending":
        code = "QuotaExceeded" if fault.kind == "quota" else "ProvisioningFailed"
        message = fault.message or f"The compute {compute} could not be provisioned."
        made["properties"]["provisioningErrors"] = [{"error": {"code": code, "message": message}}]
    workspace.computes[compute] = made
    return jsonify(show(made)), 201, begin(compute)


def refuse_other(compute: str, given: Record) -> None:
    """Refuse to turn a compute target into another one. Raises Problem."""
    known = workspace.computes[compute]["properties"]
    for name in ("computeType", "resourceId"):
        if (given.get(name) or "") != (known[name] or ""):
            message = f"The compute {compute} exists with another {name}; detach or delete it first"
            raise Problem(409, "Conflict", message)


def describe(compute: str, given: Record, kind: str) -> Record:
    """Return the record of a compute target. Passwords and keys are not kept."""
    properties, own = given["properties"], given["properties"].get("properties") or {}
    kept = {key: value for key, value in own.items() if value is not None and key not in SECRETS}
    if "vmPriority" in kept:
        kept["vmPriority"] = {"lowpriority": "LowPriority"}.get(kept["vmPriority"].lower(), "Dedicated")
    if credentials := own.get("userAccountCredentials"):
        kept["userAccountCredentials"] = {"adminUserName": credentials.get("adminUserName")}
    if account := own.get("administratorAccount"):
        kept["administratorAccount"] = {"username": account["username"]}
    return {
        "id": f"{workspace.scope}/computes/{compute}",
        "name": compute,
        "type": "Microsoft.MachineLearningServices/workspaces/computes",
        "location": given.get("location") or workspace.location,
        "tags": given.get("tags"),
        "properties": {
            "computeType": kind,
            "computeLocation": properties.get("computeLocation") or workspace.location,
            "description": properties.get("description"),
            "resourceId": properties.get("resourceId"),
            "isAttachedCompute": bool(properties.get("resourceId")),
            "createdOn": now(),
            "modifiedOn": now(),
            "provisioningErrors": None,
            "properties": DEFAULTS[kind] | kept,
        },
    }


def show(found: Record) -> Record:
    """Return a compute target with what changes while it is used: the nodes of a cluster."""
    own = found["properties"]["properties"]
    if own.get("sslConfiguration"):
        public = {"sslConfiguration": own["sslConfiguration"] | {"key": None}}
        return found | {"properties": found["properties"] | {"properties": own | public}}
    if found["properties"]["computeType"] != "AmlCompute":
        return found
    active = [one for one in workspace.runs.values() if one["target"] == found["name"] and one["status"] == "Running"]
    count = max(own["scaleSettings"]["minNodeCount"], min(len(active), own["scaleSettings"]["maxNodeCount"]))
    nodes = {
        "allocationState": "Steady",
        "allocationStateTransitionTime": found["properties"]["modifiedOn"],
        "currentNodeCount": count,
        "targetNodeCount": count,
        "nodeStateCounts": NODES | {"runningNodeCount": len(active), "idleNodeCount": max(0, count - len(active))},
    }
    nodes["nodeStateCounts"] |= {"leavingNodeCount": 0, "preemptedNodeCount": 0}
    return found | {"properties": found["properties"] | {"properties": own | nodes}}


def begin(compute: str, deleting: bool = False) -> dict[str, str]:
    """Return the headers that say where to ask how it goes."""
    base = f"https://management.azure.com/subscriptions/{workspace.subscription}/providers/"
    place = f"Microsoft.MachineLearningServices/locations/{workspace.location}/computeOperationsStatus/{new_id()}"
    about = f"&workspace={workspace.group}/{workspace.name}&compute={compute}&deleting={deleting}"
    return {"Azure-AsyncOperation": f"{base}{place}?api-version=2020-02-02{about}", "Retry-After": "0"}


status = Blueprint("computestatus", __name__)
STATUS = "/subscriptions/<subscription>/providers/Microsoft.MachineLearningServices/locations/<location>"


@status.get(f"{STATUS}/computeOperationsStatus/<operation>")
def get_status(subscription: str, location: str, operation: str) -> Any:
    """Say how the creation or deletion of a compute target goes."""
    found = find_compute(state, request.args["workspace"], request.args["compute"])
    if request.args["deleting"] == "True" or found is None:
        return {"status": "Succeeded"}
    properties = found["properties"]
    errors = properties["provisioningErrors"]
    named = {"Creating": "InProgress"}.get(properties["provisioningState"], properties["provisioningState"])
    return {"status": named} | ({"error": problem(**errors[0]["error"])} if errors else {})


def find_compute(state: State, place: str, compute: str) -> Record | None:
    """Return a compute target by GROUP/WORKSPACE and name."""
    found = [one for one in state.workspaces.values() if f"{one.group}/{one.name}" == place]
    return found[0].computes.get(compute) if found else None


@web.get("/<compute>")
@data.get("/<compute>")
def get_compute(compute: str) -> Any:
    """Return a compute target."""
    return show(find(workspace, compute))


@web.get("/")
@data.get("/")
def list_computes() -> Any:
    """List the compute targets."""
    return {"value": [show(one) for one in workspace.computes.values()]}


def find(where: Workspace, compute: str) -> Record:
    """Return a compute target. Raises Problem where there is none."""
    if compute not in where.computes:
        raise missing(f"The compute {compute} was not found in the workspace {where.name}")
    return where.computes[compute]


@web.patch("/<compute>")
def patch(compute: str) -> Any:
    """Change the scale of a cluster."""
    found, given = find(workspace, compute), body()["properties"].get("properties") or {}
    found["properties"]["properties"] |= {key: value for key, value in given.items() if key == "scaleSettings"}
    found["properties"]["modifiedOn"] = now()
    return jsonify(show(found)), 200, begin(compute)


@web.delete("/<compute>")
def delete(compute: str) -> Any:
    """Delete a compute target, or detach it."""
    users = [one["name"] for one in workspace.services.values() if one.get("computeName") == compute]
    if users:
        raise Problem(409, "ComputeInUse", f"The compute {compute} is used by the services {', '.join(users)}")
    attached = find(workspace, compute)["properties"]["isAttachedCompute"]
    wanted = "detach" if attached else "delete"
    if request.args.get("underlyingResourceAction", wanted).lower() == "detach" and not attached:
        raise Problem(400, "BadRequest", f"The compute {compute} was not attached; delete it")
    del workspace.computes[compute]
    return "", 202, begin(compute, deleting=True)
