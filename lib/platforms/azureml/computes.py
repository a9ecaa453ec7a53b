"""Compute targets: the cluster that trains, the AKS cluster that serves. vm.py attaches the VM."""

import contextlib
import functools
import time
from collections.abc import Callable
from typing import Any

from azureml.core import Workspace
from azureml.core.compute import AksCompute, AmlCompute, ComputeTarget, RemoteCompute

from lib.errors import RefusedError, ReleaseError, SettingsError
from lib.platforms.azureml import creations, tls
from lib.platforms.azureml.retry import retrying, retrying_quietly
from lib.settings import Settings

POLL_S = 2.0
UNTAGGED = (
    "it will not have the tags of [azureml] tags, because SDK v1 cannot tag AKS clusters: if a policy requires tags, "
    "create the cluster in the Azure portal, and attach it to the workspace"
)


def find(workspace: Workspace, name: str) -> Any:
    """Return a compute target; None if the workspace has none with this name."""
    return retrying("the list of compute targets", lambda: workspace.compute_targets).get(name)


def training_target(workspace: Workspace, settings: Settings, compute: str) -> Any:
    """Return the target for `vm` or `cluster`. Raises RefusedError if it is missing and may not be created."""
    azureml = settings.release.azureml
    if compute == "vm":
        if find(workspace, azureml.vm) is None:
            raise RefusedError(f"VM {azureml.vm} is not attached to the workspace\nRun `invoke attach`")
        return wait(workspace, settings, azureml.vm)
    cluster = azureml.cluster
    configuration = AmlCompute.provisioning_configuration(
        vm_size=cluster.vm_size,
        min_nodes=0,
        max_nodes=cluster.max_nodes,
        idle_seconds_before_scaledown=cluster.idle_s,
        tags=azureml.tags or None,
    )
    return _get_or_create(workspace, settings, "cluster", cluster.name, configuration)


def serving_cluster(workspace: Workspace, settings: Settings) -> Any:
    """Return the AKS cluster of the production service. Raises RefusedError if it may not be created."""
    aks = settings.release.azureml.aks
    if trouble := serving_trouble(find(workspace, aks.name), settings):
        raise SettingsError(f"compute {aks.name} cannot serve: {trouble}")
    configuration = AksCompute.provisioning_configuration(
        agent_count=aks.nodes, vm_size=aks.vm_size, location=aks.location or None
    )
    tls.enable(configuration, settings)
    return _get_or_create(workspace, settings, "aks", aks.name, configuration)


def serving_trouble(target: Any, settings: Settings) -> str:
    """Return why a target cannot serve; an empty string if it is a fitting AKS cluster, or does not exist."""
    if target is None or target.type == AksCompute._compute_type:
        return tls.cluster_trouble(target, settings.release.services.aks)
    kinds = {"AmlCompute": "a training cluster", "Kubernetes": "an attached Kubernetes cluster, which needs SDK v2"}
    kind = kinds.get(target.type, f"a compute of type {target.type}")
    return f"it is {kind}\nName an AKS cluster in azureml.aks of config/release.toml (or in config/aks_webservice.json)"


def created_here(workspace: Workspace, settings: Settings) -> list[str]:
    """Return the names of the targets that this release created or attached."""
    targets = retrying("the list of compute targets", lambda: workspace.compute_targets)
    return creations.names(workspace, settings, targets)


def remove(workspace: Workspace, name: str) -> None:
    """Delete a target that was created, detach one that was attached. Idempotent."""

    def remove() -> None:
        if (target := find(workspace, name)) is not None:
            (target.detach if isinstance(target, RemoteCompute) else target.delete)()
        creations.erase(workspace, name)

    retrying_quietly(f"removing compute {name}", remove)


def _get_or_create(workspace: Workspace, settings: Settings, kind: str, name: str, configuration: Any) -> Any:
    """Return a target; create it if it does not exist and azureml.create allows it."""
    if find(workspace, name):
        return wait(workspace, settings, name)
    if kind not in settings.release.azureml.create:
        raise RefusedError(
            f"compute {name} is not in the workspace\n"
            f'Name one that is, or let it be created, which costs money: azureml.create = ["{kind}"] '
            "in config/release.toml"
        )
    begin = functools.partial(ComputeTarget.create, workspace, name, configuration)
    return create(workspace, settings, name, begin, "creating")


def create(workspace: Workspace, settings: Settings, name: str, begin: Callable[[], Any], doing: str) -> Any:
    """Create or attach a target, note that this release did it, and wait for the target.

    It is noted before, too: a release that is killed in between has created a target that it can recognise.
    """

    def create() -> None:
        if find(workspace, name) is None:
            creations.note(workspace, settings, name, doing)
            begin()
        creations.note(workspace, settings, name, doing, find(workspace, name))

    try:
        retrying_quietly(f"{doing} compute {name}", create)
    except ReleaseError:
        with contextlib.suppress(ReleaseError):
            if find(workspace, name) is None:  # a later target with this name would pass for this release's
                retrying_quietly(f"the note about compute {name}", lambda: creations.erase(workspace, name))
        raise
    return wait(workspace, settings, name)


def wait(workspace: Workspace, settings: Settings, name: str) -> Any:
    """Wait until a target can be used, and return it. Raises ReleaseError with the reason if it cannot."""
    limit_s = settings.release.azureml.deploy_timeout_s
    until = time.monotonic() + limit_s
    while (target := find(workspace, name)) is not None:
        state = target.provisioning_state
        if state == "Succeeded":
            return target
        if state in ("Failed", "Canceled") or time.monotonic() > until:
            late = f" after azureml.deploy_timeout_s = {limit_s:g} s"
            why = f": {_reason(target)}" if state in ("Failed", "Canceled") else late
            raise ReleaseError(
                f"compute {name} is {state}{why}\n`invoke destroy --kind compute --name {name}` removes it"
            )
        time.sleep(POLL_S)
    raise ReleaseError(f"compute {name} is not in the workspace any more")


def _reason(target: Any) -> str:
    """Return why Azure did not create a target."""
    errors = target.provisioning_errors or []
    parts = [part.get("error", part) for part in (errors if isinstance(errors, list) else [errors])]
    return "; ".join(str(part.get("message", part)) for part in parts) or "Azure does not say why"
