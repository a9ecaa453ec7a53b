"""The VM of .env, which is attached to the workspace to train there."""

import functools
from pathlib import Path
from typing import Any

from azureml.core import Workspace
from azureml.core.compute import ComputeTarget, RemoteCompute

from lib.errors import SettingsError
from lib.platforms.azureml import computes, creations
from lib.settings import Env, Settings

SSH_PORT = 22


def attach(workspace: Workspace, settings: Settings) -> str:
    """Attach the VM, unless it is already attached. Raises SettingsError if its settings differ."""
    name, env = settings.release.azureml.vm, settings.env
    desired = _settings(env)
    target = computes.find(workspace, name)
    if target is None:
        configuration = RemoteCompute.attach_configuration(**desired, **_secret(env))
        begin = functools.partial(ComputeTarget.attach, workspace, name, configuration)
        computes.create(workspace, settings, name, begin, f"attaching as {env.vm_user}")
        return f"VM {name} is attached as {env.vm_user}"
    if different := _differences(target, desired, creations.doing(workspace, name)):
        raise SettingsError(
            f"VM {name} is attached with other settings: {'; '.join(different)}\n"
            f"Correct .env, or `invoke destroy --kind compute --name {name}` and attach it again"
        )
    computes.wait(workspace, settings, name)
    return f"VM {name} is attached already"


def _settings(env: Env) -> dict[str, Any]:
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


def _secret(env: Env) -> dict[str, str]:
    """Return the key file or the password for the VM."""
    if env.vm_ssh_key_file:
        path = Path(env.vm_ssh_key_file).expanduser()
        if not path.is_file():
            raise SettingsError(f"VM_SSH_KEY_FILE {path} is not there")
        return {"private_key_file": str(path)}
    assert env.vm_password  # noqa: S101 - _settings() has checked it
    return {"password": env.vm_password.reveal()}


def _differences(target: Any, desired: dict[str, Any], doing: str) -> list[str]:
    """Describe how an attached VM differs from the settings. Its user is only in our note of what was done."""
    attached = {"resource_id": target.cluster_resource_id, "ssh_port": target.ssh_port}
    if " as " in doing:
        attached["username"] = doing.rpartition(" as ")[2]
    return [
        f"{name} {value} there, {desired[name]} in .env"
        for name, value in attached.items()
        if str(value).lower() != str(desired[name]).lower()
    ]
