"""Run history: experiments, runs and the events that move them on."""

import re
from typing import Any

from flask import Blueprint, jsonify, request

from tests.azure.filters import conditions
from tests.azure.state import Record, Workspace, new_id, now
from tests.azure.web import SCOPE, Problem, body, here, issue, state, workspace

web = here(Blueprint("history", __name__, url_prefix=f"/history/v1.0{SCOPE}"))
FINAL = ("Completed", "Failed", "Canceled")
EXPERIMENT = "/experiments/<experiment>"
RUN = f"{EXPERIMENT}/runs/<run>"


@web.post("/experiments:query")
def query_experiments() -> Any:
    """List experiments."""
    return {"value": list(workspace.experiments.values()), "continuationToken": None}


@web.get(EXPERIMENT)
def get_experiment(experiment: str) -> Any:
    """Return an experiment."""
    return find_experiment(experiment)


@web.post(EXPERIMENT)
def put_experiment(experiment: str) -> Any:
    """Create an experiment, unless it is there."""
    if not re.fullmatch(r"[a-zA-Z0-9][\w-]{0,254}", experiment):
        raise Problem(400, "UserError", f"Experiment name '{experiment}' is invalid.")
    made: Record = {
        "experimentId": new_id(),
        "name": experiment,
        "description": None,
        "createdUtc": now(),
        "tags": {},
        "archivedTime": None,
        "retainForLifetimeOfWorkspace": False,
    }
    return workspace.experiments.setdefault(experiment, made)


def find_experiment(name: str) -> Record:
    """Return an experiment by its name or id. Raises Problem where there is none."""
    for found in workspace.experiments.values():
        if name in (found["name"], found["experimentId"]):
            return found
    raise Problem(404, "UserError", f"Experiment with name {name} not found in workspace {workspace.name}")


@web.get("/experimentids/<experiment>")
def get_experiment_by_id(experiment: str) -> Any:
    """Return an experiment."""
    return find_experiment(experiment)


@web.patch("/experimentids/<experiment>")
def patch_experiment(experiment: str) -> Any:
    """Change an experiment's tags and description."""
    found, given = find_experiment(experiment), body()
    found["tags"] |= given.get("tags") or {}
    found["description"] = given.get("description") or found["description"]
    return found


@web.get(RUN)
@web.get("/experimentids/<experiment>/runs/<run>")
@web.get("/runs/<run>")
def get_run(run: str, experiment: str = "") -> Any:
    """Return a run."""
    return find_run(run)


def find_run(run: str) -> Record:
    """Return a run. Raises Problem where there is none."""
    if run not in workspace.runs:
        raise Problem(404, "UserError", f"Run {run} was not found")
    return workspace.runs[run]


@web.patch(RUN)
@web.patch("/experimentids/<experiment>/runs/<run>")
def patch_run(experiment: str, run: str) -> Any:
    """Create a run, or add to it what is given."""
    given = {name: value for name, value in body().items() if value is not None}
    found = workspace.runs.get(run) or new_run(workspace, find_experiment(experiment), run)
    for name in ("tags", "properties"):
        found[name] |= {key: value for key, value in given.pop(name, {}).items() if value is not None}
    if found["status"] in FINAL:
        given.pop("status", None)
    found |= given
    return found


def new_run(where: Workspace, experiment: Record, run: str, **more: Any) -> Record:
    """Create a run."""
    identity = state.identity
    where.runs[run] = {
        "runNumber": next(where.numbers),
        "rootRunId": run,
        "experimentId": experiment["experimentId"],
        "createdUtc": now(),
        "createdBy": {"userObjectId": identity.client, "userTenantId": identity.tenant, "userName": "loopback"},
        "userId": identity.client,
        "runId": run,
        "parentRunId": None,
        "status": "NotStarted",
        "startTimeUtc": None,
        "endTimeUtc": None,
        "error": None,
        "warnings": None,
        "dataContainerId": f"dcid.{run}",
        "name": None,
        "description": None,
        "hidden": False,
        "runType": None,
        "properties": {},
        "scriptName": None,
        "target": None,
        "tags": {},
        "runDefinition": None,
        "cancelUri": None,
    } | more
    return where.runs[run]


@web.post(f"{RUN}/events")
def post_event(experiment: str, run: str) -> Any:
    """Take note of an event."""
    given = body()
    move(find_run(run), given["name"].rpartition(".")[2], given.get("data") or {})
    return "", 200


def move(run: Record, event: str, data: Record) -> None:
    """Move a run on; a final state is never left."""
    status = {"Start": "Running", "CancelRequested": "CancelRequested"}.get(event, event)
    if event == "Error":
        run["error"] = data.get("ErrorResponse")
    elif event == "Warning":
        run["warnings"] = [*(run["warnings"] or []), {"source": data.get("Source"), "message": data.get("Message")}]
    elif event != "Heartbeat" and run["status"] not in FINAL:
        run["status"] = status
        if event == "Start":
            run["startTimeUtc"] = now()
        if status in FINAL:
            run["endTimeUtc"] = now()


@web.get(f"{RUN}/details")
def details(experiment: str, run: str) -> Any:
    """Return what is shown of a run, with signed addresses of its logs."""
    found = find_run(run)
    files = workspace.artifacts.get(f"ExperimentRun/{found['dataContainerId']}", {})
    logs = {
        path: state.storage.address(workspace.container, one["blob"], "r")
        for path, one in sorted(files.items())
        if path.startswith(("azureml-logs/", "logs/azureml/"))
    }
    names = ("runId", "target", "status", "startTimeUtc", "endTimeUtc", "error", "warnings", "properties")
    kept = {name: found[name] for name in (*names, "runDefinition")}
    return kept | {"services": {}, "inputDatasets": [], "outputDatasets": [], "logFiles": logs}


@web.get(f"{RUN}/metricsingest/wait")
def ingested(experiment: str, run: str) -> Any:
    """Say that all metrics have arrived."""
    return "", 200


@web.get(f"{RUN}/token")
@web.get("/experimentids/<experiment>/runs/<run>/token")
def run_token(experiment: str, run: str) -> Any:
    """Return a new token for the script of a run."""
    return {"token": token_for(find_run(run)["runId"]), "expiryTimeUtc": "2100-01-01T00:00:00Z"}


def token_for(run: str) -> str:
    """Issue a token that is good for one run, and not for Azure Resource Manager."""
    return issue({"idtyp": "run", "run": run, "exp": 4102444800, "aud": "https://ml.azure.com"})


@web.get(f"{RUN}/children")
def children(experiment: str, run: str) -> Any:
    """List child runs."""
    found = [one for one in workspace.runs.values() if one["parentRunId"] == run]
    return {"value": found, "continuationToken": None}


@web.delete(f"{RUN}/tags")
def delete_tags(experiment: str, run: str) -> Any:
    """Delete tags of a run."""
    found = find_run(run)
    for tag in request.get_json(force=True):
        found["tags"].pop(tag, None)
    return found


@web.post(f"{EXPERIMENT}/runs:query")
def query_runs(experiment: str) -> Any:
    """List the runs of an experiment that meet a filter, the latest first."""
    given, wanted = body(), find_experiment(experiment)["experimentId"]
    found = [one for one in workspace.runs.values() if one["experimentId"] == wanted]
    tests = conditions(given.get("filter") or "")
    chosen = [one for one in reversed(found) if all(test(one) for test in tests)]
    return jsonify({"value": chosen[: given.get("top") or 500], "continuationToken": None})
