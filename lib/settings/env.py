"""The platform's name and the secrets, from .env and the environment."""

import os
from pathlib import Path
from typing import Any, Literal

from lib.settings.fields import Secret, Struct

KEY_LENGTH = 32
SECRETS = ("SCORING_KEY_PRIMARY", "SCORING_KEY_SECONDARY", "AZURE_CLIENT_SECRET", "VM_PASSWORD", "REGISTRY_PASSWORD")
SIGN_IN = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")


class Env(Struct, frozen=True):
    """.env and the environment, which goes before .env."""

    platform: Literal["local", "azureml"] = "local"
    local_workspace: str = ".workspace"
    scoring_key_primary: Secret | None = None
    scoring_key_secondary: Secret | None = None
    registry_user: str | None = None
    registry_password: Secret | None = None
    azure_tenant_id: str | None = None
    azure_client_id: str | None = None
    azure_client_secret: Secret | None = None
    azure_subscription_id: str | None = None
    azure_resource_group: str | None = None
    azure_workspace_name: str | None = None
    azure_location: str | None = None
    vm_resource_id: str | None = None
    vm_host: str | None = None
    vm_user: str | None = None
    vm_password: Secret | None = None
    vm_ssh_key_file: str | None = None
    vm_ssh_port: str | None = None
    vm_known_hosts: str | None = None
    vm_folder: str = ".invoke-release"
    vm_silence_s: str = "60"
    setup_declined: str | None = None  # an .env of version 0.1.0 may have it; ignored


def read_env(path: Path, problems: list[str]) -> dict[str, Any]:
    """Merge .env and the environment; what is secret becomes a Secret at once."""
    from dotenv import dotenv_values

    known = {name.upper() for name in Env.__struct_fields__}
    given = {name: value for name, value in dotenv_values(path).items() if value}
    given |= {name: value for name in known if (value := os.environ.get(name)) and value != unset(name)}
    problems += [f".env: {name} is unknown, known are {', '.join(sorted(known))}" for name in given.keys() - known]
    for name in ("SCORING_KEY_PRIMARY", "SCORING_KEY_SECONDARY"):
        key = given.get(name)
        if key is not None and (len(key) < KEY_LENGTH or not key.isascii() or not key.isprintable() or " " in key):
            problems.append(
                f".env: {name} must be {KEY_LENGTH} or more ASCII characters without spaces: "
                "python -c 'import secrets; print(secrets.token_urlsafe(32))' makes one"
            )
    some = [name for name in SIGN_IN if given.get(name)]
    needed = given.get("PLATFORM") == "azureml" and some not in ([], ["AZURE_TENANT_ID"])  # a tenant alone is for az
    if needed and (missing := [name for name in SIGN_IN if name not in some]):
        problems.append(f".env: {' and '.join(missing)} must be set too, beside {' and '.join(some)}")
    return {name.lower(): Secret(value) if name in SECRETS else value for name, value in given.items() if name in known}


def unset(name: str) -> str:
    """Return what Azure Pipelines hands on for a variable that nobody has set."""
    return f"$({name})"
