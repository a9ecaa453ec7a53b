"""For tests and people, on loopback: the log of requests, faults, and what there is."""

import time
from typing import Any

from flask import Blueprint, current_app, g, jsonify, request

from tests.azure import aad, compute
from tests.azure.faults import REQUESTS, THINGS
from tests.azure.web import body, state

web = Blueprint("admin", __name__)
FIELDS = ("method", "host", "path", "query", "status", "fault", "known", "rule")


@web.get("/")
def index() -> Any:
    """Say what this is."""
    return {
        "what": "a loopback Azure, for tests: see tests/azure/README.md",
        "GET /requests?method=&path=&status=&known=": "the log; each value is a regular expression",
        "DELETE /requests": "forget it",
        "POST /faults": "add a fault: {kind, match, times, ...}",
        "GET /faults": "the faults that wait",
        "DELETE /faults": "forget them",
        "GET /state": "what there is",
        "faults of requests": REQUESTS,
        "faults of things": THINGS,
    }


@web.get("/requests")
def requests() -> Any:
    """Return the log."""
    patterns = {name: request.args[name] for name in FIELDS if name in request.args}
    return jsonify(current_app.config["JOURNAL"].select(**patterns))


@web.delete("/requests")
def forget_requests() -> Any:
    """Forget the log."""
    current_app.config["JOURNAL"].clear()
    return {}


@web.get("/faults")
def faults() -> Any:
    """Return the faults that wait."""
    return jsonify(state.faults.list())


@web.post("/faults")
def add_fault() -> Any:
    """Add a fault."""
    try:
        return jsonify(state.faults.add(body()))
    except ValueError as error:
        return {"error": str(error)}, 400


@web.delete("/faults")
def forget_faults() -> Any:
    """Forget the faults."""
    state.faults.clear()
    return {}


@web.post("/workspaces")
def add_workspace() -> Any:
    """Create a workspace with its group, as if it had always been there."""
    given = body()
    state.group(given["group"], given["location"])
    return {"scope": state.workspace(given["name"], given["group"], given["location"]).scope}


@web.post("/computes")
def add_compute() -> Any:
    """Put a compute target into a workspace, as if somebody had made it."""
    given = body()
    g.workspace = next(one for one in state.workspaces.values() if one.name == given["workspace"])
    made = compute.describe(given["name"], {"properties": {"resourceId": "/its/own"}, "tags": {}}, given["kind"])
    made["properties"]["provisioningState"] = "Succeeded"
    g.workspace.computes[given["name"]] = made
    return {}


@web.post("/services")
def set_service() -> Any:
    """Change the record of a service, as Azure or somebody else might: its state, its tags, or a whole new one."""
    given = body()
    found = next(one for one in state.workspaces.values() if one.name == given["workspace"])
    found.services.setdefault(given["name"], {}).update(given["record"])
    return {}


@web.route("/ci-token", methods=["GET", "POST"])
def ci_token() -> Any:
    """Return an identity token, as the CI systems do to whoever has their job's secret."""
    if request.headers.get("Authorization") != "Bearer job":
        return {"error": "unauthorized"}, 401
    made = aad.ci_token()
    return {"value": made, "oidcToken": made}


@web.get("/vm/metadata/identity/oauth2/token")
def managed_identity() -> Any:
    """Return a token, as the metadata service of a VM does."""
    if request.headers.get("Metadata") != "true":
        return {"error": "bad_request"}, 400
    made = aad.grant({"appid": state.identity.client, "idtyp": "app"}, scope=request.args["resource"])
    return {"access_token": made["access_token"], "expires_on": str(int(time.time()) + made["expires_in"])}


@web.get("/state")
def everything() -> Any:
    """Return what there is."""
    kinds = ("experiments", "runs", "models", "environments", "images", "packages", "services", "computes")
    found = {
        one.scope: {kind: list(getattr(one, kind)) for kind in kinds} | {"tags": one.tags}
        for one in state.workspaces.values()
    }
    return {
        "groups": [one["name"] for one in state.groups.values()],
        "resources": list(state.resources),
        "workspaces": found,
    }
