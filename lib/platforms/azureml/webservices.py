"""The SDK's objects of web services: looked up, with their keys and their records."""

import functools
from typing import Any

import requests
from azureml.core.webservice import Webservice

from lib.platforms.azureml.retry import SDK_ERRORS, mentions, retrying, retrying_quietly
from lib.platforms.azureml.workspace import Connection

KEYS = ("Primary", "Secondary")
REQUEST_TIMEOUT_S = 60


def find(connection: Connection, name: str) -> Any:
    """Return a service; None if it does not exist."""
    workspace = connection.find()

    def get() -> Any:
        try:
            return Webservice(workspace, name=name) if workspace else None
        except SDK_ERRORS as error:
            if mentions(error, "WebserviceNotFound"):
                return None
            raise

    return retrying(f"service {name}", get)


def read_keys(webservice: Any) -> tuple[str, str]:
    """Return a service's primary and secondary key."""
    primary, secondary = retrying(f"the keys of {webservice.name}", webservice.get_keys)
    return primary, secondary


def set_key(webservice: Any, kind: str, key: str | None) -> None:
    """Replace one key of a service; None lets Azure choose one."""
    retrying_quietly(f"the keys of {webservice.name}", functools.partial(webservice.regen_key, kind, key))


def version_number(tags: dict[str, str]) -> int:
    """Return the number of the model version that a service's tags name; 0 if other people wrote something else."""
    tag = tags.get("model_version", "")
    return int(tag) if tag.isdecimal() else 0


def read_record(webservice: Any) -> dict[str, Any]:
    """Return a service's record as Azure has it."""
    return dict(_send(webservice, "GET").json())


def patch_record(webservice: Any, patch: bytes) -> None:
    """Change a service's record by a JSON patch that is safe to repeat; the object then knows Azure's operation.

    The SDK has no public call that writes a record back.
    """
    response = _send(webservice, "PATCH", data=patch, headers={"Content-Type": "application/json-patch+json"})
    if operation := response.headers.get("Operation-Location"):
        services = webservice._mms_endpoint.rpartition("/services/")[0]
        webservice._operation_endpoint = f"{services}/operations/{operation.rpartition('/')[2]}"


def _send(webservice: Any, method: str, headers: dict[str, str] | None = None, **options: Any) -> requests.Response:
    def send() -> requests.Response:
        signed = webservice._auth.get_authentication_header() | (headers or {})
        address = webservice._mms_endpoint
        response = requests.request(method, address, headers=signed, timeout=REQUEST_TIMEOUT_S, **options)
        response.raise_for_status()
        return response

    return retrying(f"service {webservice.name}", send)
