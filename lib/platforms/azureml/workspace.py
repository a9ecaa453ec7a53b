"""The Azure ML workspace: got, or created where Azure says that there is none and the settings allow it."""

from typing import Any

import requests
from azureml.core import Workspace
from azureml.exceptions import ProjectSystemException

from lib.errors import RefusedError
from lib.platforms.azureml.faults import SDK_ERRORS, explained, mentions, patiently, within
from lib.settings import Settings

MADE_BY = {"made_by": "invoke-release"}
NOT_FOUND = ("Workspace not found", "ResourceNotFound", "ResourceGroupNotFound")


def find(settings: Settings, auth: Any) -> Workspace | None:
    """Return the workspace, or None where Azure says that there is none. Raises ReleaseError for anything else."""
    named = settings.workspace

    def get() -> Workspace | None:
        try:
            found = Workspace.get(
                name=named.workspace_name,
                auth=auth,
                subscription_id=named.subscription_id,
                resource_group=named.resource_group,
            )
            if not found.location:  # the SDK has hidden a fault: this is no word of Azure's that there is none
                raise requests.ConnectionError(f"workspace {named.workspace_name} was not told whole")
            return found
        except SDK_ERRORS as error:
            if missing(error):
                return None
            raise

    return patiently(f"workspace {named.workspace_name}", get)


def missing(error: BaseException) -> bool:
    """Tell whether Azure says that there is no such workspace, rather than that something is wrong."""
    return isinstance(error, ProjectSystemException) and mentions(error, *NOT_FOUND)


def get(settings: Settings, auth: Any) -> Workspace:
    """Return the workspace; create it, with its resource group, where there is none and the settings allow it."""
    if found := find(settings, auth):
        return found
    named = settings.workspace
    if "workspace" not in settings.release.azureml.create:
        raise RefusedError(
            f"workspace {named.workspace_name} is not in resource group {named.resource_group}\n"
            'Correct config/config.json, or let it be created: azureml.create = ["workspace"] in config/release.toml'
        )
    doing = f"creating workspace {named.workspace_name}"
    with explained(doing):
        return within(
            settings.release.azureml.deploy_timeout_s,
            doing,
            lambda: Workspace.create(
                name=named.workspace_name,
                auth=auth,
                subscription_id=named.subscription_id,
                resource_group=named.resource_group,
                location=named.location,
                create_resource_group=True,
                tags=MADE_BY,
                show_output=False,
            ),
            "azureml.deploy_timeout_s",
        )
