"""Records of web services: what the SDK must find in them, and what Azure fills in where nothing is asked for."""

import secrets

from tests.azure.models import find_model
from tests.azure.state import Record, now
from tests.azure.web import workspace

HIDDEN = ("keys", "uses", "overwrite")
COMMON: Record = {
    "description": None,
    "kvTags": {},
    "properties": {},
    "imageId": None,
    "environmentImageRequest": None,
    "appInsightsEnabled": False,
    "scoringUri": None,
    "error": None,
    "createdBy": {"userObjectId": None, "userName": "loopback"},
}
ACI: Record = {
    "authEnabled": False,
    "cname": None,
    "containerResourceRequirements": {"cpu": 0.1, "memoryInGB": 0.5},
    "location": None,
    "publicIp": None,
    "publicFqdn": None,
    "sslCertificate": None,
    "sslEnabled": False,
    "sslKey": None,
}
AKS: Record = {
    "authEnabled": True,
    "aadAuthEnabled": False,
    "computeName": None,
    "namespace": None,
    "numReplicas": None,
    "maxConcurrentRequestsPerContainer": 1,
    "maxQueueWaitMs": 500,
    "scoringTimeoutMs": 60000,
    "dataCollection": {"storageEnabled": False, "eventHubEnabled": False},
    "containerResourceRequirements": {
        "cpu": 0.1,
        "cpuLimit": None,
        "memoryInGB": 0.5,
        "memoryInGBLimit": None,
        "gpu": None,
    },
    "livenessProbeRequirements": {
        "initialDelaySeconds": 310,
        "periodSeconds": 10,
        "failureThreshold": 3,
        "successThreshold": 1,
        "timeoutSeconds": 2,
    },
    "autoScaler": {
        "autoscaleEnabled": True,
        "minReplicas": 1,
        "maxReplicas": 10,
        "targetUtilization": 70,
        "refreshPeriodInSeconds": 1,
    },
}
KINDS = {"ACI": ACI, "AKS": AKS}


def fill(given: Record, defaults: Record) -> Record:
    """Return what was given, with defaults for all that was not, at every depth."""
    filled = {key: value for key, value in given.items() if value is not None}
    for key, value in defaults.items():
        nested = isinstance(value, dict) and value
        filled[key] = fill(given.get(key) or {}, value) if nested else filled.get(key, value)
    return filled


def describe(given: Record) -> Record:
    """Return the record of a service to come."""
    keys = given.get("keys") or {}
    made = fill(given, COMMON | KINDS[given["computeType"]])
    if given.get("numReplicas") and not given.get("autoScaler"):
        made["autoScaler"]["autoscaleEnabled"] = False
    return made | {
        "keys": {name: keys.get(name) or secrets.token_urlsafe(24) for name in ("primaryKey", "secondaryKey")},
        "location": given.get("location") or workspace.location,
        "state": "Transitioning",
        "createdTime": now(),
        "updatedTime": now(),
        "uses": used_models(made),
    }


def used_models(service: Record) -> list[str]:
    """Return the models that a service uses, by name and version."""
    if service["imageId"]:
        return list(workspace.images[service["imageId"]]["modelIds"])
    return [find_model(workspace, one)["id"] for one in service["environmentImageRequest"].get("modelIds") or []]


def show(service: Record) -> Record:
    """Return a service as Azure shows it."""
    shown = {key: value for key, value in service.items() if key not in HIDDEN}
    shown |= {"sslKey": None} if "sslKey" in shown else {}
    image = workspace.images.get(service["imageId"] or "")
    models = [workspace.models[one] for one in service["uses"] if one in workspace.models]
    return shown | {"models": models, "modelConfigMap": {}} | ({"imageDetails": image} if image else {})
