"""The Azure ML workspace. It is created only if Azure says that it does not exist and the settings allow it."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import requests
from azureml.core import Workspace
from azureml.exceptions import ProjectSystemException

from lib.errors import RefusedError, SettingsError
from lib.platforms.azureml import credentials
from lib.platforms.azureml.lease import Lease
from lib.platforms.azureml.questions import RULES
from lib.platforms.azureml.retry import SDK_ERRORS, explain, limited, mentions, retrying, retrying_quietly
from lib.platforms.base import Finding
from lib.settings import Settings

MADE_BY = {"made_by": "invoke-release"}
REQUEST_TIMEOUT_S = 60
NOT_FOUND = ("Workspace not found", "ResourceNotFound", "ResourceGroupNotFound")


class Connection:
    """The workspace of this release. The first call signs in."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()  # steps are checked in parallel, and only the first one connects
        self._auth: Any = None
        self._workspace: Workspace | None = None
        self._task = ""
        self._lease: Lease | None = None
        self.credentials = ""

    @contextlib.contextmanager
    def locked(self, task: str) -> Iterator[None]:
        """Hold this release's lease on the workspace, as soon as there is a workspace."""
        self._task = task
        try:
            self.find()
            yield
        finally:
            self._task = ""
            if self._lease is not None:
                self._lease.release()
                self._lease = None

    def sign_in(self) -> None:
        """Sign in, unless that has been done. Raises SettingsError for names that Azure does not accept."""
        if self._auth is None:
            require_names(self._settings)
            self._auth, self.credentials = credentials.sign_in(self._settings.env)

    def find(self) -> Workspace | None:
        """Return the workspace; None if it does not exist. Everything that only reads uses this: it creates nothing."""
        with self._lock:
            return self._find()

    def get_or_create(self) -> Workspace:
        """Return the workspace; create it if it does not exist and the settings allow it."""
        with self._lock:
            if self._find() is None:
                self._workspace = _create(self._settings, self._auth)
                self._require_lease()
            return self._workspace

    def forget(self) -> None:
        """Look for the workspace again at the next call. Its lease has ended with it."""
        self._workspace, self._task = None, ""

    def _find(self) -> Workspace | None:
        self.sign_in()
        if self._workspace is None:
            self._workspace = find(self._settings, self._auth)
        self._require_lease()
        return self._workspace

    def _require_lease(self) -> None:
        """Take the lease that was asked for. Raises RefusedError if another release has it, or has taken it over."""
        if self._lease is not None:
            self._lease.require()
        elif self._task and self._workspace is not None:
            release = self._settings.release
            name = "-".join(filter(None, (release.model.name, release.azureml.owner)))
            self._lease = Lease(self._workspace, name, self._task)


def check_names(settings: Settings) -> Iterator[Finding]:
    """Check the names in config.json by Azure's rules, before any request is sent."""
    needed = [name for name in RULES if name != "location" or settings.workspace.location]
    for name, rule in ((name, RULES[name]) for name in needed):
        what = f"config/config.json: {name}"
        try:
            yield Finding(what=f"{what} {rule(getattr(settings.workspace, name))}")
        except ValueError as error:
            yield Finding(what=what, fix=str(error))


def require_names(settings: Settings) -> None:
    """Raise SettingsError for a name that breaks the rules; see check_names."""
    for finding in check_names(settings):
        if finding.fix:
            raise SettingsError(f"{finding.what} {finding.fix}")


def find(settings: Settings, auth: Any) -> Workspace | None:
    """Return the workspace; None if Azure says that it does not exist. Raises ReleaseError for any other error."""
    chosen = settings.workspace
    doing = f"workspace {chosen.workspace_name}"

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
            if mentions(error, "don't have access to"):  # the login is another's, or config.json is wrong
                raise SettingsError(explain(doing, error)) from None
            raise

    return retrying(doing, get)


def _create(settings: Settings, auth: Any) -> Workspace:
    """Create the workspace, with its resource group. Raises RefusedError if the settings do not allow it."""
    chosen = settings.workspace
    if "workspace" not in settings.release.azureml.create:
        raise RefusedError(
            f"workspace {chosen.workspace_name} is not in resource group {chosen.resource_group}\n"
            'Correct config/config.json, or let it be created: azureml.create = ["workspace"] in config/release.toml'
        )
    if not chosen.location:
        raise SettingsError(
            f"workspace {chosen.workspace_name} does not exist; to create it, config/config.json needs a location\n"
            'Add the line "location": "westeurope"'
        )
    doing = f"creating workspace {chosen.workspace_name}"

    def create() -> Workspace:
        if workspace := find(settings, auth):
            return workspace
        _create_group(settings, auth)
        return Workspace.create(
            name=chosen.workspace_name,
            auth=auth,
            subscription_id=chosen.subscription_id,
            resource_group=chosen.resource_group,
            location=chosen.location,
            create_resource_group=False,
            tags=settings.release.azureml.tags | MADE_BY,
            show_output=False,
        )

    limit_s = settings.release.azureml.deploy_timeout_s
    return limited(limit_s, doing, lambda: retrying_quietly(doing, create), "azureml.deploy_timeout_s")


def _create_group(settings: Settings, auth: Any) -> None:
    """Create the resource group if it does not exist. The SDK would create it without tags."""
    chosen = settings.workspace
    manager = auth._cloud_type.endpoints.resource_manager.rstrip("/")
    url = f"{manager}/subscriptions/{chosen.subscription_id}/resourcegroups/{chosen.resource_group}"
    version, headers = {"api-version": "2021-04-01"}, auth.get_authentication_header()
    response = requests.get(url, params=version, headers=headers, timeout=REQUEST_TIMEOUT_S)
    if response.status_code == requests.codes.not_found:
        group = {"location": chosen.location, "tags": settings.release.azureml.tags | MADE_BY}
        response = requests.put(url, params=version, headers=headers, json=group, timeout=REQUEST_TIMEOUT_S)
    response.raise_for_status()


def _is_missing(error: BaseException) -> bool:
    """Return whether Azure says that the workspace does not exist, and not that something else went wrong."""
    return isinstance(error, ProjectSystemException) and mentions(error, *NOT_FOUND)
