"""Metrics of runs."""

from typing import Any

from flask import Blueprint

from tests.azure.web import SCOPE, Problem, body, here, workspace

web = here(Blueprint("metrics", __name__, url_prefix=f"/metric/v2.0{SCOPE}/runs/<run>"))


@web.post("/batch")
def post(run: str) -> Any:
    """Take metrics; a value whose id is known already is not taken twice."""
    if run not in workspace.runs:
        raise Problem(404, "UserError", f"Run {run} was not found")
    known = workspace.metrics.setdefault(run, [])
    ids = {value["metricId"] for metric in known for value in metric["value"]}
    for metric in body()["values"]:
        new = [value for value in metric["value"] if value["metricId"] not in ids]
        same = [one for one in known if one["name"] == metric["name"]]
        if same:
            same[0]["value"] += new
        elif new:
            known.append(metric | {"value": new, "dataContainerId": f"dcid.{run}", "continuationToken": None})
    return {"errors": []}


@web.post("/list")
def list_names(run: str) -> Any:
    """List the names of a run's metrics."""
    known = workspace.metrics.get(run, [])
    names = [{"metricKey": {"namespace": "", "name": one["name"]}, "columns": one["columns"]} for one in known]
    return {"value": names, "continuationToken": None}


@web.post("/full")
def full(run: str) -> Any:
    """Return every value of one metric."""
    name = body()["metricName"]
    for metric in workspace.metrics.get(run, []):
        if metric["name"] == name:
            return metric
    raise Problem(404, "UserError", f"Metric {name} was not found")
