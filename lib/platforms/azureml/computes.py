"""Compute targets: the attached VM, the cluster that trains, the AKS cluster that serves."""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from azureml.core import Workspace
from azureml.core.compute import AksCompute, AmlCompute, ComputeTarget, RemoteCompute

from lib.errors import RefusedError, ReleaseError, SettingsError
from lib.platforms.azureml import tls
from lib.platforms.azureml.retry import retrying, retrying_quietly
from lib.settings import Env, Settings

POLL_S = 2.0
SSH_PORT = 22
# Some kinds of compute cannot carry tags, so the workspace's tags name the targets that this project created. A tag's
# value ends with "; " and the release's name, except for targets from versions that did not record it.
CREATED = "made_by_invoke-release_compute_"


def find(workspace: Workspace, name: str) -> Any:
    """Return a compute target; None if the workspace has none with this name."""
    return retrying("the list of compute targets", lambda: workspace.compute_targets).get(name)


def training_target(workspace: Workspace, settings: Settings, compute: str) -> Any:
    """Return the target for `vm` or `cluster`. Raises RefusedError if it is missing and may not be created."""
    azureml = settings.release.azureml
    if compute == "vm":
        if find(workspace, azureml.vm) is None:
            raise RefusedError(f"VM {azureml.vm} is not attached to the workspace\nRun `invoke attach`")
        return _wait(workspace, settings, azureml.vm)
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


def attach_vm(workspace: Workspace, settings: Settings) -> str:
    """Attach the VM of .env, unless it is already attached. Raises SettingsError if its settings differ."""
    name, env = settings.release.azureml.vm, settings.env
    desired = _vm_settings(env)
    target = find(workspace, name)
    if target is None:
        configuration = RemoteCompute.attach_configuration(**desired, **_vm_secret(env))
        begin = functools.partial(ComputeTarget.attach, workspace, name, configuration)
        _create(workspace, settings, name, begin, f"attaching as {env.vm_user}")
        return f"VM {name} is attached as {env.vm_user}"
    if different := _differences(target, desired, _tags(workspace).get(f"{CREATED}{name}", "")):
        raise SettingsError(
            f"VM {name} is attached with other settings: {'; '.join(different)}\n"
            f"Correct .env, or `invoke destroy --kind compute --name {name}` and attach it again"
        )
    _wait(workspace, settings, name)
    return f"VM {name} is attached already"


def created_here(workspace: Workspace, settings: Settings) -> list[str]:
    """Return the names of the targets that this release created or attached."""
    notes = {tag.removeprefix(CREATED): note for tag, note in _tags(workspace).items() if tag.startswith(CREATED)}
    return [name for name, note in notes.items() if note.partition("; ")[2] in ("", _label(settings))]


def remove(workspace: Workspace, name: str) -> None:
    """Delete a target that was created, detach one that was attached. Idempotent."""

    def remove() -> None:
        if (target := find(workspace, name)) is not None:
            (target.detach if isinstance(target, RemoteCompute) else target.delete)()
        workspace.update(tags={tag: value for tag, value in _tags(workspace).items() if tag != f"{CREATED}{name}"})

    retrying_quietly(f"removing compute {name}", remove)


def _get_or_create(workspace: Workspace, settings: Settings, kind: str, name: str, configuration: Any) -> Any:
    """Return a target; create it if it does not exist and azureml.create allows it."""
    if find(workspace, name):
        return _wait(workspace, settings, name)
    if kind not in settings.release.azureml.create:
        raise RefusedError(
            f"compute {name} is not in the workspace\n"
            f'Name one that is, or let it be created, which costs money: azureml.create = ["{kind}"] '
            "in config/release.toml"
        )
    begin = functools.partial(ComputeTarget.create, workspace, name, configuration)
    return _create(workspace, settings, name, begin, "creating")


def _create(workspace: Workspace, settings: Settings, name: str, begin: Callable[[], Any], doing: str) -> Any:
    """Create or attach a target, note in the workspace's tags that this project did it, and wait for the target."""

    def create() -> None:
        if find(workspace, name) is None:
            begin()
        workspace.update(tags=_tags(workspace) | {f"{CREATED}{name}": f"{doing}; {_label(settings)}"})

    retrying_quietly(f"{doing} compute {name}", create)
    return _wait(workspace, settings, name)


def _wait(workspace: Workspace, settings: Settings, name: str) -> Any:
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


def _vm_settings(env: Env) -> dict[str, Any]:
    """Return the VM's settings. Raises SettingsError that names the missing ones."""
    required = {"VM_RESOURCE_ID": env.vm_resource_id, "VM_USER": env.vm_user}
    missing = [name for name, value in required.items() if not value]
    if not (env.vm_password or env.vm_ssh_key_file):
        missing.append("VM_SSH_KEY_FILE (or VM_PASSWORD)")
    if missing:
        raise SettingsError(f"{', '.join(missing)} must be set in .env, to attach a VM")
    return {
        "resource_id": env.vm_resource_id,
        "username": env.vm_user,
        "ssh_port": int(env.vm_ssh_port or SSH_PORT),
    }


def _vm_secret(env: Env) -> dict[str, str]:
    """Return the key file or the password for the VM."""
    if env.vm_ssh_key_file:
        path = Path(env.vm_ssh_key_file).expanduser()
        if not path.is_file():
            raise SettingsError(f"VM_SSH_KEY_FILE {path} is not there")
        return {"private_key_file": str(path)}
    assert env.vm_password  # noqa: S101 - _vm_settings() has checked it
    return {"password": env.vm_password.reveal()}


def _differences(target: Any, desired: dict[str, Any], note: str) -> list[str]:
    """Describe how an attached VM differs from the settings. Its user is only in our note."""
    attached = {"resource_id": target.cluster_resource_id, "ssh_port": target.ssh_port}
    if " as " in note:
        attached["username"] = note.partition("; ")[0].rpartition(" as ")[2]
    return [
        f"{name} {value} there, {desired[name]} in .env"
        for name, value in attached.items()
        if str(value).lower() != str(desired[name]).lower()
    ]


def _label(settings: Settings) -> str:
    """Return this release's name in a target's note."""
    return " of ".join(filter(None, (settings.release.model.name, settings.release.azureml.owner)))


def _reason(target: Any) -> str:
    """Return why Azure did not create a target."""
    errors = target.provisioning_errors or []
    parts = [part.get("error", part) for part in (errors if isinstance(errors, list) else [errors])]
    return "; ".join(str(part.get("message", part)) for part in parts) or "Azure does not say why"


def _tags(workspace: Workspace) -> dict[str, str]:
    """Return the workspace's present tags. The SDK's object keeps those from when it was created."""
    return dict(retrying("the workspace's tags", workspace.get_details).get("tags") or {})
