"""The Azure ML workspace. It is created only if Azure says that it does not exist and the settings allow it."""

from typing import Any

import requests
from azureml.core import Workspace
from azureml.exceptions import ProjectSystemException

from lib.errors import RefusedError
from lib.platforms.azureml.retry import SDK_ERRORS, limited, mentions, retrying, translated
from lib.settings import Settings

MADE_BY = {"made_by": "invoke-release"}
NOT_FOUND = ("Workspace not found", "ResourceNotFound", "ResourceGroupNotFound")


def find(settings: Settings, auth: Any) -> Workspace | None:
    """Return the workspace; None if Azure says that it does not exist. Raises ReleaseError for any other error."""
    chosen = settings.workspace

    def get() -> Workspace | None:
        try:
            workspace = Workspace.get(
                name=chosen.workspace_name,
                auth=auth,
                subscription_id=chosen.subscription_id,
                resource_group=chosen.resource_group,
            )
            # The SDK hides some errors and returns an empty workspace. That does not mean that none exists.
            if not workspace.location:
                raise requests.ConnectionError(f"workspace {chosen.workspace_name} was answered without its location")
            return workspace
        except SDK_ERRORS as error:
            if _is_missing(error):
                return None
            raise

    return retrying(f"workspace {chosen.workspace_name}", get)


def get_or_create(settings: Settings, auth: Any) -> Workspace:
    """Return the workspace; create it, with its resource group, if it does not exist and the settings allow it."""
    if workspace := find(settings, auth):
        return workspace
    chosen = settings.workspace
    if "workspace" not in settings.release.azureml.create:
        raise RefusedError(
            f"workspace {chosen.workspace_name} is not in resource group {chosen.resource_group}\n"
            'Correct config/config.json, or let it be created: azureml.create = ["workspace"] in config/release.toml'
        )
    doing = f"creating workspace {chosen.workspace_name}"
    with translated(doing):
        return limited(
            settings.release.azureml.deploy_timeout_s,
            doing,
            lambda: Workspace.create(
                name=chosen.workspace_name,
                auth=auth,
                subscription_id=chosen.subscription_id,
                resource_group=chosen.resource_group,
                location=chosen.location,
                create_resource_group=True,
                tags=MADE_BY,
                show_output=False,
            ),
            "azureml.deploy_timeout_s",
        )


def _is_missing(error: BaseException) -> bool:
    """Return whether Azure says that the workspace does not exist, and not that something else went wrong."""
    return isinstance(error, ProjectSystemException) and mentions(error, *NOT_FOUND)
