"""Compute targets: the attached VM, the cluster that trains, the AKS cluster that serves."""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from azureml.core import Workspace
from azureml.core.compute import AksCompute, AmlCompute, ComputeTarget, RemoteCompute

from lib.errors import RefusedError, ReleaseError, SettingsError
from lib.platforms.azureml.faults import explained, patiently
from lib.settings import Env, Settings

POLL_S = 2.0
SSH_PORT = 22
# Not every compute can carry a tag of its own, so the workspace says which ones this project made.
MADE = "made_by_invoke-release_compute_"


def find(workspace: Workspace, name: str) -> Any:
    """Return a compute target, or None where there is none of this name."""
    return patiently("the list of compute targets", lambda: workspace.compute_targets).get(name)


def ready(workspace: Workspace, settings: Settings, name: str) -> Any:
    """Wait until a target can be used. Raises ReleaseError that says why it cannot."""
    limit_s = settings.release.azureml.deploy_timeout_s
    until = time.monotonic() + limit_s
    while (target := find(workspace, name)) is not None:
        state = target.provisioning_state
        if state == "Succeeded":
            return target
        if state in ("Failed", "Canceled") or time.monotonic() > until:
            late = f" after azureml.deploy_timeout_s = {limit_s:g} s"
            why = f": {reason(target)}" if state in ("Failed", "Canceled") else late
            raise ReleaseError(
                f"compute {name} is {state}{why}\n`invoke destroy --kind compute --name {name}` removes it"
            )
        time.sleep(POLL_S)
    raise ReleaseError(f"compute {name} is not in the workspace any more")


def attach_vm(workspace: Workspace, settings: Settings) -> str:
    """Attach the VM of .env, unless it is attached with the same settings. Raises SettingsError where they differ."""
    name, env = settings.release.azureml.vm, settings.env
    wanted = wanted_vm(env)
    found = find(workspace, name)
    if found is None:
        configuration = RemoteCompute.attach_configuration(**wanted, **secret_of(env))
        begin = functools.partial(ComputeTarget.attach, workspace, name, configuration)
        make(workspace, settings, name, begin, f"attaching as {env.vm_user}")
        return f"VM {name} is attached as {env.vm_user}"
    differing = differences(found, wanted, tags_of(workspace).get(f"{MADE}{name}", ""))
    if differing:
        raise SettingsError(
            f"VM {name} is attached with other settings: {'; '.join(differing)}\n"
            f"Correct .env, or `invoke destroy --kind compute --name {name}` and attach it again"
        )
    ready(workspace, settings, name)
    return f"VM {name} is attached already"


def wanted_vm(env: Env) -> dict[str, Any]:
    """Return the VM's settings. Raises SettingsError for those that are missing."""
    needed = {"VM_RESOURCE_ID": env.vm_resource_id, "VM_USER": env.vm_user}
    missing = [name for name, value in needed.items() if not value]
    if not (env.vm_password or env.vm_ssh_key_file):
        missing.append("VM_SSH_KEY_FILE (or VM_PASSWORD)")
    if missing:
        raise SettingsError(f"{', '.join(missing)} must be set in .env, to attach a VM")
    return {
        "resource_id": env.vm_resource_id,
        "username": env.vm_user,
        "ssh_port": int(env.vm_ssh_port or SSH_PORT),
    }


def secret_of(env: Env) -> dict[str, str]:
    """Return the key file or the password with which the VM lets us in."""
    if env.vm_ssh_key_file:
        path = Path(env.vm_ssh_key_file).expanduser()
        if not path.is_file():
            raise SettingsError(f"VM_SSH_KEY_FILE {path} is not there")
        return {"private_key_file": str(path)}
    assert env.vm_password  # noqa: S101 - wanted_vm() has seen it
    return {"password": env.vm_password.reveal()}


def differences(found: Any, wanted: dict[str, Any], noted: str) -> list[str]:
    """Say in what an attached VM differs from the settings; its user is only known from our note."""
    attached = {"resource_id": found.cluster_resource_id, "ssh_port": found.ssh_port}
    if " as " in noted:
        attached["username"] = noted.rpartition(" as ")[2]
    return [
        f"{name} {value} there, {wanted[name]} in .env"
        for name, value in attached.items()
        if str(value).lower() != str(wanted[name]).lower()
    ]


def training_target(workspace: Workspace, settings: Settings, compute: str) -> Any:
    """Return what trains on `vm` or `cluster`. Raises RefusedError where it is missing and may not be created."""
    azureml = settings.release.azureml
    if compute == "vm":
        if find(workspace, azureml.vm) is None:
            raise RefusedError(f"VM {azureml.vm} is not attached to the workspace\nRun `invoke attach`")
        return ready(workspace, settings, azureml.vm)
    cluster = azureml.cluster
    return found_or_made(
        workspace,
        settings,
        "cluster",
        cluster.name,
        AmlCompute.provisioning_configuration(
            vm_size=cluster.vm_size,
            min_nodes=0,
            max_nodes=cluster.max_nodes,
            idle_seconds_before_scaledown=cluster.idle_s,
        ),
    )


def serving_cluster(workspace: Workspace, settings: Settings) -> Any:
    """Return the AKS cluster of the production service. Raises RefusedError where it may not be created."""
    aks = settings.release.azureml.aks
    configuration = AksCompute.provisioning_configuration(
        agent_count=aks.nodes, vm_size=aks.vm_size, location=aks.location or None
    )
    return found_or_made(workspace, settings, "aks", aks.name, configuration)


def found_or_made(workspace: Workspace, settings: Settings, kind: str, name: str, configuration: Any) -> Any:
    """Return a target; create it where there is none and azureml.create allows it."""
    if find(workspace, name):
        return ready(workspace, settings, name)
    if kind not in settings.release.azureml.create:
        raise RefusedError(
            f"compute {name} is not in the workspace\n"
            f'Name one that is, or let it be created, which costs money: azureml.create = ["{kind}"] '
            "in config/release.toml"
        )
    begin = functools.partial(ComputeTarget.create, workspace, name, configuration)
    return make(workspace, settings, name, begin, "creating")


def make(workspace: Workspace, settings: Settings, name: str, begin: Callable[[], Any], doing: str) -> Any:
    """Create or attach a target, note in the workspace that it was made here, and wait until it can be used."""
    with explained(f"{doing} compute {name}"):
        begin()
        workspace.update(tags=tags_of(workspace) | {f"{MADE}{name}": doing})
    return ready(workspace, settings, name)


def reason(target: Any) -> str:
    """Return why Azure did not make a target."""
    errors = target.provisioning_errors or []
    found = [part.get("error", part) for part in (errors if isinstance(errors, list) else [errors])]
    return "; ".join(str(part.get("message", part)) for part in found) or "Azure does not say why"


def tags_of(workspace: Workspace) -> dict[str, str]:
    """Return the workspace's tags as they are now; the SDK's own object keeps those of when it was made."""
    return dict(patiently("the workspace's tags", workspace.get_details).get("tags") or {})


def made_here(workspace: Workspace) -> list[str]:
    """Return the names of the targets that this project made."""
    return [tag.removeprefix(MADE) for tag in tags_of(workspace) if tag.startswith(MADE)]


def remove(workspace: Workspace, name: str) -> None:
    """Delete what was created, and detach what was attached; nothing happens where it is gone."""
    target = find(workspace, name)
    with explained(f"removing compute {name}"):
        if target is not None:
            (target.detach if isinstance(target, RemoteCompute) else target.delete)()
        workspace.update(tags={tag: value for tag, value in tags_of(workspace).items() if tag != f"{MADE}{name}"})
