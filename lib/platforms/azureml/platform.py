"""Azure Machine Learning as a platform, through azureml-sdk (v1)."""

import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

# Read by the SDK when it is imported: it does not nag, knows its cloud, and leaves trying again to faults.py. Where it
# cannot be kept from it, it would wait for minutes.
os.environ.setdefault("AZUREML_LOG_DEPRECATION_WARNING_ENABLED", "False")
os.environ.setdefault("AZUREML_CURRENT_CLOUD", "AzureCloud")
os.environ.setdefault("AZUREML_DEFAULT_RETRIES", "0")
os.environ.setdefault("AZUREML_DEFAULT_BACKOFF", "1")
os.environ.setdefault("AZUREML_DEFAULT_500_BACKOFF", "0")
os.environ.setdefault("AZUREML_DEFAULT_503_BACKOFF", "0")

from azureml.core import Workspace

from lib.errors import ReleaseError
from lib.forks.client import Forks
from lib.platforms.azureml import computes, credentials, workspace
from lib.platforms.azureml.faults import explained
from lib.platforms.azureml.images import Images
from lib.platforms.azureml.models import Models
from lib.platforms.azureml.questions import RULES
from lib.platforms.azureml.runs import Runs
from lib.platforms.azureml.services import Services
from lib.platforms.base import (
    Ask,
    Finding,
    Resource,
)
from lib.platforms.blobs import Blobs
from lib.settings import Settings


class AzuremlPlatform:
    """A workspace of Azure ML, connected to when it is needed; lib/platforms/base.py says what each method promises."""

    name = "azureml"
    computes = ("local", "env", "vm", "cluster")
    stop_deletes = True  # Azure ML has nothing between serving and deleted

    def __init__(self, settings: Settings, _forks: Forks) -> None:
        logging.getLogger("azureml").setLevel(logging.CRITICAL)  # its errors are raised too
        self.settings = settings
        cache = settings.folder / "azureml"
        blobs = Blobs(cache / "files")
        model = settings.release.model
        self.runs = Runs(self.connected, settings, blobs)
        self.models = Models(self.connected, model.name, model.description, blobs, self.runs)
        self.images = Images(self.connected, self.models, cache / "images", settings.release.azureml.build_timeout_s)
        self.services = Services(self.connected, settings, self.models, self.images)
        self.lock = threading.Lock()
        self.found: Workspace | None = None
        self.who = ""

    def connected(self) -> Workspace:
        """Return the workspace, asked for once however many ask at the same time."""
        with self.lock:
            if self.found is None:
                auth, self.who = credentials.sign_in(self.settings.env)
                self.found = workspace.get(self.settings, auth)
            return self.found

    def check(self) -> Iterator[Finding]:
        named = list(check_names(self.settings))
        yield from named
        may = ", ".join(self.settings.release.azureml.create)
        yield Finding(
            what=f"azureml.create lets {may or 'nothing'} be created" + (", which costs money" if may else "")
        )
        if any(finding.fix for finding in named):
            return
        what = f"credentials for Azure ({credentials.ORDER})"
        try:
            auth, who = credentials.sign_in(self.settings.env)
            yield Finding(what=f"credentials for Azure: {who} (the order is {credentials.ORDER})")
            what = f"workspace {self.settings.workspace.workspace_name}"
            found = workspace.find(self.settings, auth)
        except ReleaseError as error:
            yield Finding(what=what, fix=str(error).removeprefix(f"{what}: ").replace("\n", ". "))
            return
        yield self.check_workspace(found)
        if found is not None:
            self.found = found
            yield from self.check_computes(found)

    def check_workspace(self, found: Workspace | None) -> Finding:
        """Check that the workspace is there, or may be created."""
        what = f"workspace {self.settings.workspace.workspace_name}"
        if found is None and "workspace" not in self.settings.release.azureml.create:
            return Finding(
                what=what,
                fix="there is none: correct config/config.json, or let it be created by "
                'azureml.create = ["workspace"] in config/release.toml',
            )
        return Finding(what=f"{what} in {found.location}" if found else f"{what} will be created")

    def check_computes(self, found: Workspace) -> Iterator[Finding]:
        """Check that the compute targets that a release needs are there, or may be created."""
        azureml, compute = self.settings.release.azureml, self.settings.release.train.compute
        wanted = {"vm": azureml.vm, "cluster": azureml.cluster.name}
        needed = [(compute, wanted[compute])] if compute in wanted else []
        for kind, name in [*needed, ("aks", azureml.aks.name)]:
            there = computes.find(found, name) is not None
            fix = "run `invoke attach`" if kind == "vm" else f'name one that is there, or azureml.create = ["{kind}"]'
            allowed = there or kind in azureml.create
            what = f"compute {name}" + ("" if there or not allowed else " will be created")
            yield Finding(what=what, fix="" if allowed else f"it is not in the workspace: {fix}")

    def workspace(self) -> str:
        found = self.connected()
        return (
            f"workspace {found.name} in {found.resource_group}, {found.location}\n"
            f"signed in by {self.who} (the order is: {credentials.ORDER})"
        )

    def attach(self, _ask: Ask) -> str:
        return computes.attach_vm(self.connected(), self.settings)

    def resources(self) -> list[Resource]:
        found = sorted(self.services.list(), key=lambda one: str(one.name))
        services = [
            Resource(kind="service", name=one.name, detail=f"{one.compute_type}, {one.scoring_uri}") for one in found
        ]
        used = {(one.tags or {}).get("image") for one in found}
        images = [
            Resource(
                kind="image",
                name=one.properties["digest"],
                detail=f"{one.properties['location']}, which stays",
                used=one.properties["digest"] in used,
            )
            for one in self.images.entries()
        ]
        models = [
            Resource(kind="model", name=str(one.version), detail=f"of run {one.run_id}")
            for one in self.models.versions()
        ]
        made = [
            Resource(kind="compute", name=name, detail="created or attached from here")
            for name in computes.made_here(self.connected())
        ]
        return [*services, *images, *models, *made, *self.own_workspace()]

    def own_workspace(self) -> list[Resource]:
        """Return the workspace where it was created from here."""
        found = self.connected()
        if (found.tags or {}).items() >= workspace.MADE_BY.items():
            return [Resource(kind="workspace", name=found.name, detail="with its storage, registry and key vault")]
        return []

    def remove(self, resource: Resource) -> str:
        removers: dict[str, Any] = {
            "service": self.services.remove,
            "image": self.images.remove,
            "model": lambda name: self.models.remove(int(name)),
            "compute": lambda name: computes.remove(self.connected(), name),
            "workspace": lambda _name: self.delete_workspace(),
        }
        removers[resource.kind](resource.name)
        return ""

    def close(self) -> None:
        pass  # the SDK keeps no connection that has to be closed

    def delete_workspace(self) -> None:
        """Delete the workspace with what was created with it."""
        with explained(f"deleting workspace {self.settings.workspace.workspace_name}"):
            self.connected().delete(delete_dependent_resources=True, no_wait=False)
        self.found = None


def check_names(settings: Settings) -> Iterator[Finding]:
    """Check the names in config.json by Azure's rules, before anything is asked for."""
    for name, rule in RULES.items():
        what = f"config/config.json: {name}"
        try:
            yield Finding(what=f"{what} {rule(getattr(settings.workspace, name))}")
        except ValueError as error:
            yield Finding(what=what, fix=str(error))
