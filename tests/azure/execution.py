"""Runs: on the client's machine by a package that the SDK starts, on a compute target by a process of ours."""

import io
import json
import re
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

from flask import Blueprint, current_app, request
from packaging.requirements import InvalidRequirement

from tests.azure import forks, history, snapshots
from tests.azure.interpreters import BuildError, interpreter, requirements
from tests.azure.leash import Child
from tests.azure.state import Record, State, Workspace
from tests.azure.web import SCOPE, Problem, body, current, here, state, workspace
from tests.support import warm

web = here(Blueprint("execution", __name__, url_prefix=f"/execution/v1.0{SCOPE}/experiments/<experiment>"))
HERE = Path(__file__).parent
INVOCATION = """#!/bin/bash
cd "$(dirname "$0")/.."
exec "{python}" azureml-setup/driver.py azureml-setup/driver.json >azureml-setup/driver.log 2>&1
"""


@web.post("/localrun")
def local_run(experiment: str) -> Any:
    """Return the package that runs the script where the SDK is."""
    files = {file.filename: file.read() for file in request.files.getlist("files")}
    definition = json.loads(files["definition.json"])
    run = begin(experiment, definition, "local")
    fault = state.faults.take(f"run {run['runId']}", "never-ending", "failed")
    if fault and fault.kind == "never-ending":
        script = "#!/bin/bash\nexit 0\n"
    else:
        script = INVOCATION.format(python=sys.executable)
    settings = driver_settings(run, definition["Configuration"], "azureml-logs/70_driver_log.txt")
    if fault and fault.kind == "failed":
        settings["forks"] = ""
        settings["command"] = [sys.executable, "-c", f"raise SystemExit({fault.message or 'a fault'!r})"]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("azureml-setup/Invocation.sh", script)
        for name, content in setup(settings).items():
            archive.writestr(f"azureml-setup/{name}", content)
    return current_app.response_class(packed.getvalue(), mimetype="application/zip")


def setup(settings: Record) -> dict[str, bytes]:
    """Return the files that go with a run."""
    files = {name: (HERE / name).read_bytes() for name in ("driver.py", "context.py")}
    return files | {"driver.json": json.dumps(settings).encode()}


@web.post("/snapshotrun")
def snapshot_run(experiment: str) -> Any:
    """Start a run of a snapshot on a compute target."""
    definition = body()
    target = definition["Configuration"]["target"]
    compute = workspace.computes.get(target)
    if compute is None:
        raise Problem(404, "UserError", f"Compute Target with name {target} not found in provided workspace")
    snapshots.find(workspace, definition["SnapshotId"])
    kind = compute["properties"]["computeType"]
    run = begin(experiment, definition, {"AmlCompute": "amlcompute", "VirtualMachine": "remotevm"}.get(kind, kind))
    run["properties"]["ContentSnapshotId"] = definition["SnapshotId"]
    run["properties"] |= snapshots.find(workspace, definition["SnapshotId"])["properties"]
    base = f"https://{region()}.api.azureml.ms/execution/v1.0{workspace.scope}/experiments/{experiment}/runId/{run['runId']}"
    run["cancelUri"] = f"{base}/cancel"
    run["diagnosticsUri"] = f"{base}/diagnostics"
    history.move(run, "Queued", {})
    fault = state.faults.take(f"run {run['runId']} on {target}", "never-ending", "failed", "quota")
    if fault is None:
        settings = driver_settings(run, definition["Configuration"], "user_logs/std_log.txt")
        threading.Thread(target=execute, args=(*current(), run, definition, settings), daemon=True).start()
    elif fault.kind != "never-ending":
        code = "ClusterCoreQuotaReached" if fault.kind == "quota" else "ServiceError"
        run["error"] = {"error": {"code": code, "message": fault.message or "The run could not be started."}}
        history.move(run, "Failed", {})
    return {"runId": run["runId"]}


def region() -> str:
    """Return the region as host names have it."""
    return workspace.location.lower().replace(" ", "")


def begin(experiment: str, definition: Record, kind: str) -> Record:
    """Create the run that was submitted."""
    configuration, run = definition["Configuration"], request.args["runId"]
    if run in workspace.runs:
        raise Problem(409, "UserError", f"Run {run} already exists")
    found = history.new_run(workspace, history.find_experiment(experiment), run)
    found |= {
        "runType": "azureml.scriptrun",
        "scriptName": configuration["script"],
        "target": configuration["target"],
        "runDefinition": configuration,
        "parentRunId": definition.get("ParentRunId"),
        "status": "Preparing",
    }
    found["properties"] |= {
        "_azureml.ComputeTargetType": kind,
        "azureml.runsource": "azureml.scriptrun",
        "ProcessInfoFile": "azureml-logs/process_info.json",
        "ProcessStatusFile": "azureml-logs/process_status.json",
    }
    found["tags"] |= configuration.get("tags") or {}
    return found


def driver_settings(run: Record, configuration: Record, log: str) -> Record:
    """Return what the driver needs to know."""
    experiment = history.find_experiment(run["experimentId"])["name"]
    service = f"https://{region()}.api.azureml.ms"
    token = history.token_for(run["runId"])
    script = ["azureml-setup/context.py", configuration["script"], *map(str, configuration["arguments"] or [])]
    environment = {
        "AZUREML_ARM_SUBSCRIPTION": workspace.subscription,
        "AZUREML_ARM_RESOURCEGROUP": workspace.group,
        "AZUREML_ARM_WORKSPACE_NAME": workspace.name,
        "AZUREML_ARM_PROJECT_NAME": experiment,
        "AZUREML_EXPERIMENT_ID": run["experimentId"],
        "AZUREML_WORKSPACE_ID": workspace.id,
        "AZUREML_RUN_ID": run["runId"],
        "AZUREML_RUN_TOKEN": token,
        "AZUREML_RUN_TOKEN_EXPIRY": "2100-01-01T00:00:00Z",
        "AZUREML_SERVICE_ENDPOINT": service,
        "AZUREML_DISCOVERY_SERVICE_ENDPOINT": f"{service}/discovery",
    }
    if not has_sdk(configuration["environment"]["python"]):
        environment["LOOPBACK_WITHOUT_SDK"] = "yes"
    environment |= configuration["environment"].get("environmentVariables") or {}
    command = configuration.get("command") or [find_interpreter(run, configuration), *script]
    return {
        "forks": forks.address(state) if is_python(command[0]) and warm.POSSIBLE else "",
        "scope": workspace.scope,
        "run": run["runId"],
        "experiment": experiment,
        "service": service,
        "token": token,
        "log": log,
        "environment": environment | (configuration.get("environmentVariables") or {}),
        "command": command,
    }


def is_python(program: str) -> bool:
    """Say whether a program is an interpreter of this machine, not the stand-in for one that could not be made."""
    return Path(program).is_file() and Path(program).name.startswith("python")


def has_sdk(python: Record) -> bool:
    """Say whether an environment brings the SDK, without which a script cannot reach its run."""
    if python["userManagedDependencies"]:
        return True
    try:
        _, packages = requirements(python["condaDependencies"])
    except InvalidRequirement:
        return True
    return any(re.match("azureml-(defaults|core|sdk)", one) for one in packages)


def find_interpreter(run: Record, configuration: Record) -> str:
    """Return the interpreter that a run asks for. Where it cannot be made, return one that says why."""
    python = configuration["environment"]["python"]
    if python["userManagedDependencies"]:
        given = python.get("interpreterPath") or "python"
        return given if configuration["target"] == "local" else sys.executable
    try:
        made, _ = interpreter(python["condaDependencies"], state.folder)
    except BuildError as error:
        failing = state.folder / f"no-environment-{run['runId']}"
        failing.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{error}\nEND\nexit 1\n")
        failing.chmod(0o755)
        return str(failing)
    return made


def execute(state: State, where: Workspace, run: Record, definition: Record, settings: Record) -> None:
    """Run a snapshot in a process of its own, to its end."""
    folder = state.folder / "runs" / run["runId"]
    snapshots.unpack(state, where, definition["SnapshotId"], folder)
    (folder / "azureml-setup").mkdir(parents=True)
    for name, content in setup(settings).items():
        (folder / "azureml-setup" / name).write_bytes(content)
    command = [sys.executable, "azureml-setup/driver.py", "azureml-setup/driver.json"]
    log = folder / "azureml-setup" / "driver.log"
    child = Child(command, log, cwd=folder, env=state.client_environment(folder / "azureml-setup" / "home"))
    state.at_exit.append(child.stop)
    run_id = run["runId"]
    where.processes[run_id] = child
    code = child.wait()
    if run["status"] not in history.FINAL:
        text = re.sub(r"Bearer \S+", "Bearer (hidden)", log.read_text(errors="replace"))
        run["error"] = {"error": {"code": "ServiceError", "message": f"the driver exited with {code}\n{text[-2000:]}"}}
        history.move(run, "Failed", {})


@web.post("/runId/<run>/cancel")
def cancel(experiment: str, run: str) -> Any:
    """Cancel a run and end its process."""
    found = history.find_run(run)
    history.move(found, "Canceled", {})
    if child := workspace.processes.get(run):
        child.stop()
    return {"runId": run}
