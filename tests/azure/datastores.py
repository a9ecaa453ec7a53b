"""The workspace's default datastore: the container of its own storage account, with the account's key."""

from typing import Any

from flask import Blueprint

from tests.azure.storage import ACCOUNT
from tests.azure.web import SCOPE, here, state, workspace

web = here(Blueprint("datastores", __name__, url_prefix=f"/datastore/v1.0{SCOPE}"))


@web.get("/default")
def default() -> Any:
    """Return the default datastore."""
    section = {
        "accountName": ACCOUNT,
        "containerName": workspace.container,
        "endpoint": "core.windows.net",
        "protocol": "https",
        "credentialType": "AccountKey",
        "accountKey": state.storage.key,
    }
    return {"name": "workspaceblobstore", "dataStoreType": "AzureBlob", "azureStorageSection": section}
