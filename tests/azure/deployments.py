"""Deployments: how a service comes to serve what its record says, and what becomes of it where that fails."""

import threading

from tests.azure import images
from tests.azure.contents import BuildError, Contents
from tests.azure.faults import Fault
from tests.azure.front import address
from tests.azure.operations import Operation, begin, problem
from tests.azure.serving import Container, CrashError, Serving
from tests.azure.state import Record, State, Workspace
from tests.azure.web import current, workspace

CRASHED = {"ACI": "AciDeploymentFailed", "AKS": "KubernetesDeploymentFailed"}
CRASH = (
    "Your container application crashed. This may be caused by errors in your scoring file's init() function. "
    "Please check the logs for your container instance: {name}. "
    "From the AML SDK, you can run print(service.get_logs()) to retrieve them."
)


def begin_rollout(service: Record, kind: str, update: bool) -> Operation:
    """Let a service serve what its record says, in a thread of its own."""
    operation = begin(workspace, kind, f"{workspace.scope}/services/{service['name']}")
    workspace.serving.setdefault(service["name"], Serving())
    service |= {"state": "Transitioning", "error": None}
    threading.Thread(target=roll_out, args=(*current(), service, operation, update), daemon=True).start()
    return operation


def roll_out(state: State, where: Workspace, service: Record, operation: Operation, update: bool) -> None:
    """Build, start, and take over."""
    name = service["name"]
    fault = state.faults.take(f"service {name}", "failed", "never-ending", "crash", "quota")
    if fault and fault.kind == "never-ending":
        operation.hangs, operation.stage = True, "DeployService"
        return
    try:
        contents = find_contents(state, where, service, operation)
    except BuildError as error:
        fail(service, operation, problem("EnvironmentBuildFailed", f"The image could not be built:\n{error}"), update)
        return
    if operation.hangs:
        return
    operation.stage = "DeployService"
    if fault and fault.kind in ("failed", "quota"):
        code = "ServiceQuotaExceeded" if fault.kind == "quota" else CRASHED[service["computeType"]]
        fail(service, operation, problem(code, fault.message or "The service could not be deployed."), update)
        return
    start(state, where, service, operation, contents, fault, update)


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
    update: bool,
) -> None:
    """Start a container beside the one that answers, and let it take over when it is ready."""
    serving, crash = where.serving[service["name"]], (fault.message or "a fault") if fault else ""
    container = Container(state, contents, variables(where, service), crash)
    serving.logs.append(container.log)
    try:
        container.wait()
    except CrashError:
        # ACI replaces its one container in place; AKS keeps the old ones as long as the new are not ready.
        if service["computeType"] == "ACI":
            serving.replace(None)
        error = problem(CRASHED[service["computeType"]], CRASH.format(name=service["name"]))
        error["details"][0]["code"] = "CrashLoopBackOff"
        fail(service, operation, error, update)
        return
    if where.services.get(service["name"]) is not service or operation.over.is_set():
        container.stop()
        operation.end("Cancelled")
        return
    serving.replace(container)
    service |= {"state": "Healthy", "scoringUri": address(where, state.port, service["name"])}
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


def fail(service: Record, operation: Operation, error: Record, update: bool) -> None:
    """Let a deployment fail: on AKS an update that fails leaves the service unhealthy, all else has failed."""
    service |= {"state": "Unhealthy" if update and service["computeType"] == "AKS" else "Failed", "error": error}
    operation.end("Failed", error)
