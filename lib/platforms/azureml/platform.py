"""Azure Machine Learning as a platform, through azureml-sdk (v1)."""

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

# The SDK reads these when it is imported: no nagging about v2, and no retries, since retry.py repeats
# calls. With its own retries, the SDK would wait for minutes.
os.environ.setdefault("AZUREML_LOG_DEPRECATION_WARNING_ENABLED", "False")
os.environ.setdefault("AZUREML_DEFAULT_RETRIES", "0")
os.environ.setdefault("AZUREML_DEFAULT_BACKOFF", "1")
os.environ.setdefault("AZUREML_DEFAULT_500_BACKOFF", "0")
os.environ.setdefault("AZUREML_DEFAULT_503_BACKOFF", "0")

from azureml.core import Workspace

from lib.errors import ReleaseError, SettingsError
from lib.forks.client import Forks
from lib.platforms.azureml import computes, credentials, tls, vm, workspace
from lib.platforms.azureml.assets import Assets
from lib.platforms.azureml.images import Images
from lib.platforms.azureml.models import Models
from lib.platforms.azureml.ownership import Ownership
from lib.platforms.azureml.retry import is_in_use, retrying_quietly
from lib.platforms.azureml.runs import Runs
from lib.platforms.azureml.services import Services
from lib.platforms.azureml.workspace import Connection
from lib.platforms.base import Ask, Finding, Resource
from lib.platforms.blobs import Blobs
from lib.settings import Settings


class AzuremlPlatform:
    """A workspace of Azure ML. It is connected to when it is first needed."""

    name = "azureml"
    computes = ("local", "env", "vm", "cluster")
    stop_deletes = True  # an Azure ML service either serves or does not exist
    committed_only = True

    def __init__(self, settings: Settings, forks: Forks) -> None:
        os.environ["AZUREML_CURRENT_CLOUD"] = settings.env.azureml_current_cloud  # the SDK reads it nowhere else
        logging.getLogger("azureml").setLevel(logging.CRITICAL)  # the SDK raises what it logs
        self._settings = settings
        cache = settings.folder / "azureml"
        blobs = Blobs(cache / "files")
        model = settings.release.model
        ownership = Ownership(settings)
        self._connection = Connection(settings)
        self.runs = Runs(self._connection, settings, blobs, forks.environment)
        self.models = Models(self._connection, model.name, model.description, blobs, self.runs, ownership)
        timeout_s = settings.release.azureml.build_timeout_s
        self.images = Images(self._connection, self.models, ownership, cache / "images", timeout_s)
        self.services = Services(Assets(self._connection, settings, self.models, self.images, ownership))

    def connect(self) -> Workspace:
        """Return the SDK's object of the workspace, which is created if the settings allow it."""
        return self._connection.get_or_create()

    def check(self) -> Iterator[Finding]:
        names = list(workspace.check_names(self._settings))
        yield from names
        create = ", ".join(self._settings.release.azureml.create)
        yield Finding(
            what=f"azureml.create lets {create or 'nothing'} be created" + (", which costs money" if create else "")
        )
        if any(finding.fix for finding in names):
            return
        yield from (Finding(what="TLS", hint=line) for line in self.warnings())
        what = f"credentials for Azure ({credentials.ORDER})"
        try:
            self._connection.sign_in()
            who = self._connection.credentials
            yield Finding(what=f"credentials for Azure: {who} (the order is {credentials.ORDER})")
            what = f"workspace {self._settings.workspace.workspace_name}"
            existing = self._connection.find()
        except ReleaseError as error:
            yield Finding(what=what, fix=str(error).removeprefix(f"{what}: ").replace("\n", ". "))
            return
        yield self._check_workspace(existing)
        if existing is not None:
            yield from self._check_computes(existing)

    def locked(self, task: str) -> AbstractContextManager[None]:
        return self._connection.locked(task)

    def warnings(self) -> list[str]:
        services = self._settings.release.services
        return list(filter(None, map(tls.warning, (services.aci, services.aks))))

    def preflight(self) -> None:
        tls.require_certificates(self._settings)
        if existing := self._connection.find():
            aks = self._settings.release.azureml.aks
            if trouble := computes.serving_trouble(computes.find(existing, aks.name), self._settings):
                raise SettingsError(f"compute {aks.name} cannot serve: {trouble}")
            services = self._settings.release.services
            for service in (services.aci, services.aks):
                self.services.require_own(service)

    def workspace(self) -> str:
        existing = self.connect()
        return (
            f"workspace {existing.name} in {existing.resource_group}, {existing.location}\n"
            f"signed in by {self._connection.credentials} (the order is: {credentials.ORDER})"
        )

    def attach(self, _ask: Ask) -> str:
        return vm.attach(self.connect(), self._settings)

    def resources(self) -> list[Resource]:
        webservices = sorted(self.services.all(), key=lambda webservice: str(webservice.name))
        services = [
            Resource(kind="service", name=item.name, detail=f"{item.compute_type}, {item.scoring_uri}")
            for item in webservices
        ]
        used = {(item.tags or {}).get("image") for item in webservices}
        images = [
            Resource(
                kind="image",
                name=entry.properties["digest"],
                detail=f"{entry.properties['location']}, which stays",
                used=entry.properties["digest"] in used,
            )
            for entry in self.images.entries()
        ]
        models = [
            Resource(kind="model", name=str(model.version), detail=f"of run {model.run_id}")
            for model in self.models.versions()
        ]
        existing = self._connection.find()
        targets = [
            Resource(kind="compute", name=name, detail="created or attached from here")
            for name in (computes.created_here(existing, self._settings) if existing else [])
        ]
        return [*services, *images, *models, *targets, *self._own_workspace()]

    def remove(self, resource: Resource) -> str:
        removers: dict[str, Any] = {
            "service": self.services.remove,
            "image": self.images.remove,
            "model": lambda name: self.models.remove(int(name)),
            "compute": lambda name: computes.remove(self.connect(), name),
            "workspace": lambda _name: self._delete_workspace(),
        }
        try:
            removers[resource.kind](resource.name)
        except ReleaseError as error:
            if not is_in_use(error):
                raise
            return f"{resource.kind} {resource.name} remains, because it is in use: {str(error).splitlines()[0]}"
        return ""

    def close(self) -> None:
        pass  # the SDK keeps no connection that has to be closed

    def _check_workspace(self, existing: Workspace | None) -> Finding:
        """Check that the workspace exists, or may be created."""
        what = f"workspace {self._settings.workspace.workspace_name}"
        if existing is None and "workspace" not in self._settings.release.azureml.create:
            return Finding(
                what=what,
                fix="there is none: correct config/config.json, or let it be created by "
                'azureml.create = ["workspace"] in config/release.toml',
            )
        return Finding(what=f"{what} in {existing.location}" if existing else f"{what} will be created")

    def _check_computes(self, existing: Workspace) -> Iterator[Finding]:
        """Check that the compute targets that a release needs exist, or may be created."""
        azureml, compute = self._settings.release.azureml, self._settings.release.train.compute
        training = {"vm": azureml.vm, "cluster": azureml.cluster.name}
        needs = [(compute, training[compute])] if compute in training else []
        for kind, name in [*needs, ("aks", azureml.aks.name)]:
            target = computes.find(existing, name)
            if trouble := computes.serving_trouble(target, self._settings) if kind == "aks" else "":
                yield Finding(what=f"compute {name}", fix=trouble.replace("\n", ". "))
                continue
            exists = target is not None
            fix = "run `invoke attach`" if kind == "vm" else f'name one that is there, or azureml.create = ["{kind}"]'
            allowed = exists or kind in azureml.create
            if not allowed:
                yield Finding(what=f"compute {name}", fix=f"it is not in the workspace: {fix}")
            elif exists:
                yield Finding(what=f"compute {name}")
            else:
                hint = computes.UNTAGGED if kind == "aks" and azureml.tags else ""
                yield Finding(what=f"compute {name} will be created", hint=hint)

    def _own_workspace(self) -> list[Resource]:
        """Return the workspace if this project created it and nobody else uses it."""
        existing = self._connection.find()
        created = existing and (existing.tags or {}).items() >= workspace.MADE_BY.items()
        if not existing or not created or self.services.others() or self.models.others():
            return []
        return [Resource(kind="workspace", name=existing.name, detail="with its storage, registry and key vault")]

    def _delete_workspace(self) -> None:
        """Delete the workspace and what was created with it."""

        def delete() -> None:
            self._connection.forget()
            if existing := self._connection.find():
                existing.delete(delete_dependent_resources=True, no_wait=False)

        retrying_quietly(f"deleting workspace {self._settings.workspace.workspace_name}", delete)
        self._connection.forget()
