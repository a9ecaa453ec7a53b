"""The variables of .env, which environment variables override: the platform's name, secrets, the VM."""

import io
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from lib.errors import SettingsError
from lib.files import read_text
from lib.settings.fields import Secret, Struct

KEY_LENGTH = 32
SECRETS = ("SCORING_KEY_PRIMARY", "SCORING_KEY_SECONDARY", "AZURE_CLIENT_SECRET", "VM_PASSWORD", "REGISTRY_PASSWORD")
# In CI and in some clusters, one of these replaces the secret.
WORKLOAD_IDENTITY = ("AZURE_FEDERATED_TOKEN_FILE", "ACTIONS_ID_TOKEN_REQUEST_URL", "SYSTEM_OIDCREQUESTURI")
SIGN_IN = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")


class Env(Struct, frozen=True):
    """The variables, by their names in lower case."""

    platform: Literal["local", "azureml"] = "local"
    local_workspace: str = ".workspace"
    local_environments: str = ""
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
    azureml_current_cloud: Literal["AzureCloud", "AzureUSGovernment", "AzureChinaCloud"] = "AzureCloud"
    aci_tls_certificate_file: str | None = None
    aci_tls_key_file: str | None = None
    aks_tls_certificate_file: str | None = None
    aks_tls_key_file: str | None = None
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

    @property
    def scoring_keys(self) -> tuple[str, str]:
        """The keys that services must accept; an empty string for each that is not set."""
        primary, secondary = self.scoring_key_primary, self.scoring_key_secondary
        return primary.reveal() if primary else "", secondary.reveal() if secondary else ""


def read_dotenv(path: Path, problems: list[str]) -> dict[str, str]:
    """Return the variables of .env; empty if there is none.

    A line that is no NAME=VALUE is a problem: a release without it could go to another platform, or use other keys.
    """
    from dotenv import dotenv_values
    from dotenv.parser import parse_stream

    try:
        text = read_text(path)
    except FileNotFoundError:
        return {}
    except SettingsError as error:
        problems.append(str(error).replace("\n", ": "))
        return {}
    before = len(problems)
    for binding in parse_stream(io.StringIO(text)):
        # Blank lines and comments belong to the text of the entry after them.
        start = len(binding.original.string) - len(binding.original.string.lstrip())
        number = binding.original.line + binding.original.string[:start].count("\n")
        if binding.error or (binding.key and binding.value is None):
            problems.append(f".env, line {number}: this is not NAME=VALUE, or a quote is not closed")
    if len(problems) > before:
        return {}  # dotenv itself would only warn of a line, and leave it out
    return {name: value or "" for name, value in dotenv_values(stream=io.StringIO(text)).items()}


def read_secrets(path: Path, names: Collection[str]) -> dict[str, Secret]:
    """Return the secrets of the owner's scripts that .env or the environment sets."""
    values: dict[str, str] = read_dotenv(path, []) if names else {}  # its problems are reported by read_env
    values |= {name: os.environ[name] for name in names if os.environ.get(name, _unset(name)) != _unset(name)}
    return {name: Secret(values[name]) for name in names if values.get(name)}


def read_env(path: Path, problems: list[str], declared: Collection[str] | None = ()) -> dict[str, Any]:
    """Return the values of .env and the environment. Secrets are wrapped at once, so that no message shows them.

    `declared` are other variables that .env may have; None if they are not known.
    """
    names = {name.upper() for name in Env.__struct_fields__}
    values = {name: value for name, value in read_dotenv(path, problems).items() if value}
    values |= {name: value for name in names if (value := os.environ.get(name)) and value != _unset(name)}
    if declared is not None and (unknown := sorted(values.keys() - names - set(declared))):
        from lib.settings import words

        problems += [f".env: unknown variable {name}{words.meant(name, sorted(names))}" for name in unknown]
    for name in ("SCORING_KEY_PRIMARY", "SCORING_KEY_SECONDARY"):
        key = values.get(name)
        if key is not None and (len(key) < KEY_LENGTH or not key.isascii() or not key.isprintable() or " " in key):
            problems.append(
                f".env: {name} must be {KEY_LENGTH} or more ASCII characters without spaces: "
                "python -c 'import secrets; print(secrets.token_urlsafe(32))' prints a new one"
            )
    present = [name for name in SIGN_IN if values.get(name)]
    # A tenant alone is valid: it selects the tenant of the Azure CLI's login.
    needed = values.get("PLATFORM") == "azureml" and present not in ([], ["AZURE_TENANT_ID"])
    required = SIGN_IN[:2] if any(os.environ.get(name) for name in WORKLOAD_IDENTITY) else SIGN_IN
    if needed and (absent := [name for name in required if name not in present]):
        problems.append(f".env: {' and '.join(absent)} must be set too, like {' and '.join(present)}")
    return {
        name.lower(): Secret(value) if name in SECRETS else value for name, value in values.items() if name in names
    }


def _unset(name: str) -> str:
    # Azure Pipelines passes this text for a variable that is not defined.
    return f"$({name})"
