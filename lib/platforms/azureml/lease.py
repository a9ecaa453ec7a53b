"""One release at a time, from anywhere: a lease on a blob in the workspace's storage.

The lease ends 60 seconds after its release dies. The blob's metadata says who holds it, and can be read meanwhile.
"""

import contextlib
import json
import os
import platform
import threading
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import requests
from azureml._base_sdk_common.service_discovery import get_service_url
from azureml._vendor.azure_storage.blob import BlobClient, BlobLeaseClient
from azureml.core import Workspace

from lib.clock import now
from lib.errors import RefusedError
from lib.platforms.azureml.retry import CONFLICTS, retrying, status
from lib.user import current_user

LEASE_S = 60
RENEW_S = 15.0
REQUEST_TIMEOUT_S = 30


class Lease:
    """The lease of one release. It is renewed in a thread until `release()`."""

    def __init__(self, workspace: Workspace, name: str, task: str) -> None:
        self._blob = _blob(workspace, f"invoke-release/{name}.lock")
        self._holder = {"task": task, "who": current_user(), "since": now(), "machine": _machine(), "pid": os.getpid()}
        self._id = str(uuid.uuid4())
        self._end = threading.Event()
        self._lost = ""
        self._lease = retrying("the lock of the workspace", self._acquire)
        self._renewed = time.monotonic()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Raise RefusedError if the lease was lost: another release may have begun."""
        if self._lost:
            raise RefusedError(f"the lock of the workspace was lost: {self._lost}\nThe next `invoke release` continues")

    def release(self) -> None:
        """Give the lease back. If that fails, it ends by itself within a minute."""
        self._end.set()
        self._thread.join()
        with contextlib.suppress(Exception):  # it would hide the error that ends the release
            self._lease.release()

    def _acquire(self) -> Any:
        try:
            if not self._blob.exists():
                self._blob.upload_blob(b"", overwrite=False)
        except Exception as error:
            if status(error) not in CONFLICTS:  # another release has just created it
                raise
        try:
            lease = self._blob.acquire_lease(LEASE_S, lease_id=self._id)  # the same id again, if an answer was lost
        except Exception as error:
            if status(error) not in CONFLICTS:
                raise
            if self._holder_died_here():
                BlobLeaseClient(self._blob).break_lease(lease_break_period=0)
                return self._acquire()
            raise RefusedError(
                f"{self._describe()}\nWait for it to end. If it has died, its lock ends within a minute; to break it: "
                f"az storage blob lease break --account-name {self._blob.account_name} "
                f"--container-name {self._blob.container_name} --blob-name {self._blob.blob_name}"
            ) from None
        self._blob.set_blob_metadata({"holder": quote(json.dumps(self._holder))}, lease=lease)
        return lease

    def _renew(self) -> None:
        """Renew the lease. A failure is no loss as long as the lease has not ended."""
        while not self._end.wait(RENEW_S):
            try:
                self._lease.renew()
                self._renewed = time.monotonic()
            except Exception as error:
                ended = time.monotonic() - self._renewed > LEASE_S
                if status(error) in CONFLICTS or ended:
                    self._lost = self._describe()
                    return

    def _holder_died_here(self) -> bool:
        """Return whether the holder was a process of this machine that no longer runs: no need to wait for its end."""
        try:
            holder = self._read_holder()
            if holder["machine"] == self._holder["machine"]:
                os.kill(holder["pid"], 0)
        except ProcessLookupError:
            return True
        except Exception:  # the blob does not say who holds it
            return False
        return False

    def _read_holder(self) -> dict[str, Any]:
        return dict(json.loads(unquote(self._blob.get_blob_properties().metadata["holder"])))

    def _describe(self) -> str:
        """Return who holds the lease, as far as the blob says."""
        try:
            holder = self._read_holder()
            return f"`invoke {holder['task']}` of {holder['who']} uses this workspace since {holder['since']}"
        except Exception:
            return "another release uses this workspace"


def _machine() -> str:
    """Return what tells this machine, since its last start, from any other. Containers have host names of their own."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{platform.node()} {boot.read_text().strip() if boot.exists() else ''}"


def _blob(workspace: Workspace, name: str) -> Any:
    """Return the client of a blob in the workspace's own storage.

    Not by Workspace.get_default_datastore(), which imports the packages for data sets: that takes seconds.
    """
    scope = workspace.get_details()["id"]

    def section() -> dict[str, Any]:
        auth = workspace._auth_object
        host = get_service_url(auth, scope, workspace._workspace_id, workspace.discovery_url)
        headers = auth.get_authentication_header()
        response = requests.get(f"{host}/datastore/v1.0{scope}/default", headers=headers, timeout=REQUEST_TIMEOUT_S)
        response.raise_for_status()
        return dict(response.json()["azureStorageSection"])

    storage = retrying("the workspace's storage", section)
    credential = storage.get("accountKey") or storage.get("sasToken") or storage.get("credential")
    address = f"https://{storage['accountName']}.blob.{storage.get('endpoint') or 'core.windows.net'}"
    return BlobClient(address, storage["containerName"], name, credential=credential)
