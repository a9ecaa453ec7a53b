"""The settings of a release, read once from config/ and .env. Every problem is reported at once."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec

from lib.errors import SettingsError
from lib.redaction import Redactor
from lib.settings.azureml import AciContainer, AksContainers, AksWebservice, Autoscale, Workspace
from lib.settings.env import SECRETS, Env, read_env, read_secrets
from lib.settings.fields import Secret, Struct
from lib.settings.parsing import Source
from lib.settings.release import (
    Compute,
    ContainerSettings,
    ImageSettings,
    Limits,
    LocalService,
    Parameter,
    Release,
    Service,
)

__all__ = [
    "SECRETS",
    "AciContainer",
    "AksContainers",
    "Autoscale",
    "Compute",
    "ContainerSettings",
    "Env",
    "ImageSettings",
    "Limits",
    "LocalService",
    "Parameter",
    "Release",
    "Secret",
    "Service",
    "Settings",
    "declared_secrets",
    "load",
]

WORKSPACE, RELEASE, EXISTING = FILES = (
    "config/config.json",
    "config/release.toml",
    "config/aks_webservice.json",
)
DATA_ENDINGS = (".csv", ".parquet")
# What a release sets for score.py.
IDENTITY = ("MODEL_NAME", "MODEL_VERSION", "IMAGE_DIGEST", "REQUEST_BYTES", "SCORING_KEYS", "SERVICE_SECRETS")


class Settings(Struct, frozen=True):
    """All settings of a release. `secrets` are those of the owner's scripts that are set."""

    root: Path
    workspace: Workspace
    release: Release
    env: Env
    secrets: dict[str, Secret] = msgspec.field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder in which the local platform keeps everything, and other platforms what they download."""
        return self.root / self.env.local_workspace

    @property
    def environments(self) -> Path:
        """The folder of the models' environments on this machine; several projects may share one."""
        return self.root / self.env.local_environments if self.env.local_environments else self.folder / "environments"

    @property
    def records(self) -> Path:
        """The folder of this platform's records."""
        return self.root / "artifacts" / self.env.platform

    def training_on(self, compute: str) -> "Settings":
        """Return the settings with another train.compute. platforms.connect checks that the platform has it."""
        replace = msgspec.structs.replace
        return replace(self, release=replace(self.release, train=replace(self.release.train, compute=compute)))

    @property
    def private(self) -> set[str]:
        """The names of all variables that only one script or none receives."""
        return {*SECRETS, *_declared(self.release)}

    @property
    def redact(self) -> Redactor:
        """A function that takes the values of secrets out of a text. Keep it: each new one prepares all their forms."""
        own = [value for value in msgspec.structs.astuple(self.env) if isinstance(value, Secret)]
        return Redactor(secret.reveal() for secret in [*own, *self.secrets.values()])

    def secrets_of(self, names: list[str]) -> dict[str, Secret]:
        """Return those of some secrets that are set."""
        return {name: self.secrets[name] for name in names if name in self.secrets}

    @property
    def data(self) -> Path | None:
        """The file to train on, or None if model/train.py loads its own data."""
        return self.root / self.release.train.data if self.release.train.data else None

    def of_platform(self, service: Service) -> dict[str, Any]:
        """Return the settings of a service that have an effect on this platform and its engine."""
        fields = msgspec.structs.asdict(getattr(service, self.env.platform))
        # Services from before there were TLS settings must stay as they are.
        unset = [name for name, value in fields.items() if name.startswith("tls") and value is None]
        return {
            name: value
            for name, value in fields.items()
            if name not in unset and (name != "container" or self.containers)
        }

    @property
    def containers(self) -> bool:
        """Whether services run in containers on this machine."""
        return self.env.platform == "local" and self.release.local.engine == "container"


def load(root: Path, texts: Mapping[str, str] | None = None) -> Settings:
    """Read all settings, those of config/ from `texts` if there are any. Raises SettingsError with every problem."""
    problems: list[str] = []
    source = {name: Source.of(root, name, problems, texts) for name in FILES}
    if not problems:
        absent = [name for name in (WORKSPACE, RELEASE) if not source[name].text]
        problems += [f"{name} is missing or empty: restore it from git" for name in absent]
    workspace = source[WORKSPACE].read(Workspace, source[WORKSPACE].parse())
    release = source[RELEASE].read(Release, source[RELEASE].parse()) if source[RELEASE].text else None
    names = _declared(release) if release else None
    env = dotenv(root, problems, names)
    release = _with_existing_service(source[EXISTING], release)
    if release:
        _check_services(release, source[RELEASE])
        _check_data(release, source[RELEASE])
        _check_variables(release, source[RELEASE])
    if env:
        _check_numbers(env, problems)
    if workspace and env:
        workspace = _overridden(workspace, env)
        _check_workspace(workspace, env, source[WORKSPACE])
    if release and env and env.platform == "azureml":
        _check_azure(release, source[RELEASE])
    if problems or not (workspace and release and env):
        raise SettingsError("\n".join(problems))
    secrets = read_secrets(root / ".env", names or [])
    return Settings(root=root, workspace=workspace, release=release, env=env, secrets=secrets)


def declared_secrets(root: Path) -> list[str]:
    """Return the names of the secrets of the owner's scripts; [] if config/release.toml has a problem."""
    source = Source.of(root, RELEASE, [])
    release = source.read(Release, source.parse()) if source.text else None
    return _declared(release) if release else []


def _declared(release: Release) -> list[str]:
    return sorted({name for names in release.secrets.values() for name in names})


def _overridden(workspace: Workspace, env: Env) -> Workspace:
    # AZURE_SUBSCRIPTION_ID and the like override config.json.
    values = {name: getattr(env, f"azure_{name}") for name in workspace.__struct_fields__}
    return msgspec.structs.replace(workspace, **{name: value for name, value in values.items() if value})


def located(root: Path, key: tuple[str, ...], problem: str) -> SettingsError:
    """Return the error for a setting of release.toml whose problem shows only when it is used, with its line."""
    problems: list[str] = []
    name = ".".join(key)
    text = re.sub(r" \([\w.]+, line \d+\)$", "", problem.splitlines()[0]).partition(f"{name} ")[2]
    Source.of(root, RELEASE, problems).report(key, text)
    return SettingsError("\n".join(problems))


def dotenv(root: Path, problems: list[str], declared: Collection[str] | None = None) -> Env | None:
    """Return the variables of .env and the environment. If any is wrong, add a problem and return None.

    `declared` are the variables for the owner's scripts; None if they are not known.
    """
    before = len(problems)
    values = read_env(root / ".env", problems, declared)
    text = Source.of(root, ".env", []).text  # a file that cannot be read is reported above
    env = Source(".env", text, problems).read(Env, values)
    return env if len(problems) == before else None


def _check_workspace(workspace: Workspace, env: Env, source: Source) -> None:
    """Report a part of the workspace's address that is missing. Only Azure needs it."""
    if env.platform != "local" and source.text:
        for name in ("subscription_id", "resource_group", "workspace_name"):
            if not getattr(workspace, name):
                source.report((name,), "is missing")


def _check_azure(release: Release, source: Source) -> None:
    """Report secrets of services: Azure ML v1 would show them to everyone who can read the workspace."""
    for key, names in release.secrets.items():
        if names and key[0] == "services":
            source.report(key, "cannot be used with PLATFORM=azureml: Azure ML v1 keeps no secrets for services")


def _with_existing_service(source: Source, release: Release | None) -> Release | None:
    # aks_webservice.json overrides the cluster and the service of release.toml.
    existing = source.read(AksWebservice, source.parse())
    if not release or not existing:
        return release
    replace = msgspec.structs.replace
    services, azureml = release.services, release.azureml
    if existing.aks_service_name:
        services = replace(services, aks=replace(services.aks, name=existing.aks_service_name))
    if existing.aks_name:
        azureml = replace(azureml, aks=replace(azureml.aks, name=existing.aks_name))
    return replace(release, services=services, azureml=azureml)


def _check_services(release: Release, source: Source) -> None:
    aci, aks = release.services.aci, release.services.aks
    section = ("services", "aks")
    if aci.name == aks.name:
        source.report((*section, "name"), f"and services.aci.name are both {aci.name}")
    if aci.local.port == aks.local.port:
        source.report((*section, "local", "port"), f"and services.aci.local.port are both {aci.local.port}")
    scale = aks.azureml.autoscale
    if scale and scale.min_replicas > scale.max_replicas:
        source.report((*section, "azureml", "autoscale"), "has more min_replicas than max_replicas")


def _check_numbers(env: Env, problems: list[str]) -> None:
    # In .env every value is text, so the fields' types cannot check them.
    for name, largest in (("vm_ssh_port", 65535), ("vm_silence_s", None)):
        value = getattr(env, name)
        if value is not None and not (value.isdecimal() and 1 <= int(value) <= (largest or int(value))):
            problems.append(f".env: {name.upper()} must be a number {f'from 1 to {largest}' if largest else 'above 0'}")


def _check_data(release: Release, source: Source) -> None:
    data = release.train.data
    if data and not data.endswith(DATA_ENDINGS):
        source.report(("train", "data"), f'"{data}" must end with {" or ".join(DATA_ENDINGS)}')
    if data and "data" in release.train.parameters:
        source.report(("train", "data"), "and train.parameters.data are both set: choose one")


def _check_variables(release: Release, source: Source) -> None:
    """Report variables for the owner's scripts whose names have another meaning."""
    taken = {name.upper() for name in Env.__struct_fields__}.union(IDENTITY)
    envs = {("services", name, "env"): getattr(release.services, name).env for name in ("aci", "aks")}
    for key, names in [*release.secrets.items(), *envs.items()]:
        for name in names:
            if name in taken or name.startswith(("AZUREML_", "AML_", "PYTHON")):
                source.report(key, f"has {name}, which a release itself uses: choose another name")
    for name in ("aci", "aks"):
        service = getattr(release.services, name)
        for both in sorted(service.env.keys() & set(service.secrets)):
            source.report(("services", name, "env"), f"and services.{name}.secrets both have {both}")
