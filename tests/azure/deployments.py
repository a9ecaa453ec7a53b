"""Deployments: how a service comes to serve what its record says, and what becomes of it where that fails."""

import json
import secrets
import threading
import time

from tests.azure import images
from tests.azure.contents import BuildError, Contents
from tests.azure.faults import Fault
from tests.azure.front import address
from tests.azure.operations import Operation, begin, problem
from tests.azure.serving import Container, CrashError, Serving
from tests.azure.state import Record, State, Workspace
from tests.azure.web import current, workspace

CRASHED = {"ACI": "AciDeploymentFailed", "AKS": "KubernetesDeploymentFailed"}
PERIOD_S = 0.05
UNSCHEDULABLE = (
    "Couldn't schedule because the kubernetes cluster didn't have available resources after trying for 00:05:00. "
    "You can address this error by either adding more nodes, changing SKU of your nodes or changing the resource "
    "requirements of your service. Please refer to https://aka.ms/debugimage#container-cannot-be-scheduled."
)
CRASH = (
    "Your container application crashed. This may be caused by errors in your scoring file's init() function. "
    "Please check the logs for your container instance: {name}. "
    "From the AML SDK, you can run print(service.get_logs()) to retrieve them."
)


def begin_rollout(service: Record, kind: str) -> Operation:
    """Let a service serve what its record says, in a thread of its own."""
    operation = begin(workspace, kind, f"{workspace.scope}/services/{service['name']}")
    workspace.serving.setdefault(service["name"], Serving())
    service |= {"state": "Transitioning", "error": None}
    threading.Thread(target=roll_out, args=(*current(), service, operation), daemon=True).start()
    return operation


def roll_out(state: State, where: Workspace, service: Record, operation: Operation) -> None:
    """Build, start, and take over."""
    name = service["name"]
    fault = state.faults.take(f"service {name}", "failed", "never-ending", "crash", "quota", "unschedulable")
    if state.faults.take(f"service {name}", "new-keys"):
        service["keys"] = {kind: secrets.token_urlsafe(24) for kind in service["keys"]}
    while state.faults.holds(f"service {name}", "paused"):
        operation.hangs = True  # its state is answered at once, not held back until there is news
        time.sleep(PERIOD_S)
    operation.hangs = False
    if fault and fault.kind == "never-ending":
        operation.hangs, operation.stage = True, "DeployService"
        return
    try:
        contents = find_contents(state, where, service, operation)
    except BuildError as error:
        fail(service, operation, problem("EnvironmentBuildFailed", f"The image could not be built:\n{error}"))
        return
    if operation.hangs:
        return
    operation.stage = "DeployService"
    if fault and fault.kind == "unschedulable":
        detail = fault.message or "0/3 nodes are available: 3 Insufficient cpu, 3 Insufficient memory."
        details = [{"code": "Unschedulable", "message": detail}]
        refusal = problem("KubernetesDeploymentFailed", UNSCHEDULABLE) | {"details": details}
        fail(service, operation, refusal, "Unschedulable")
        return
    if fault and fault.kind in ("failed", "quota"):
        code = "ServiceQuotaExceeded" if fault.kind == "quota" else CRASHED[service["computeType"]]
        fail(service, operation, problem(code, fault.message or "The service could not be deployed."))
        return
    start(state, where, service, operation, contents, fault)


def find_contents(state: State, where: Workspace, service: Record, operation: Operation) -> Contents:
    """Return the contents of a service's image, built now if an environment describes it. Raises BuildError."""
    if service["imageId"]:
        contents: Contents = where.contents[service["imageId"]]
        return contents
    return images.build(state, where, operation, f"image {service['name']}", service["environmentImageRequest"])


def start(
    state: State,
    where: Workspace,
    service: Record,
    operation: Operation,
    contents: Contents,
    fault: Fault | None,
) -> None:
    """Start a container beside the one that answers, and let it take over when it is ready.

    Kubernetes keeps a pod whose template comes back, and so does this.
    """
    serving, crash = where.serving[service["name"]], (fault.message or "a fault") if fault else ""
    template = json.dumps([service["imageId"], service["environmentImageRequest"]], sort_keys=True)
    if serving.container and serving.container.template == template and not crash and service["computeType"] == "AKS":
        service |= {"state": "Healthy", "scoringUri": address(state, where, service)}
        operation.end()
        return
    container = Container(state, contents, variables(where, service), crash)
    container.template = template
    serving.logs.append(container.log)
    try:
        container.wait()
    except CrashError:
        # ACI replaces its one container in place; AKS keeps the old ones as long as the new are not ready.
        if service["computeType"] == "ACI":
            serving.replace(None)
        error = problem(CRASHED[service["computeType"]], CRASH.format(name=service["name"]))
        error["details"][0]["code"] = "CrashLoopBackOff"
        fail(service, operation, error)
        return
    if where.services.get(service["name"]) is not service or operation.over.is_set():
        container.stop()
        operation.end("Cancelled")
        return
    serving.replace(container)
    service |= {"state": "Healthy", "scoringUri": address(state, where, service)}
    operation.end()


def variables(where: Workspace, service: Record) -> dict[str, str]:
    """Return what a container's environment says of its service."""
    return {
        "SERVICE_NAME": service["name"],
        "WORKSPACE_NAME": where.name,
        "SERVICE_PATH_PREFIX": f"api/v1/service/{service['name']}",
        "SCORING_TIMEOUT_MS": str(service.get("scoringTimeoutMs", 60000)),
        "AML_APP_INSIGHTS_ENABLED": "false",
    }


def fail(service: Record, operation: Operation, error: Record, state: str = "Failed") -> None:
    """Let a deployment fail. What answered before goes on answering on AKS, whatever the state says."""
    service |= {"state": state, "error": error}
    operation.end("Failed", error)
