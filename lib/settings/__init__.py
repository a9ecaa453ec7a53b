"""The settings of a release, read once from config/ and .env. All that is wrong with them is reported at once."""

from pathlib import Path
from typing import Any

import msgspec

from lib.errors import SettingsError
from lib.settings.azureml import AciContainer, AksContainers, AksWebservice, Autoscale, Workspace
from lib.settings.env import SECRETS, Env, read_env
from lib.settings.fields import Secret, Struct
from lib.settings.parsing import parse, read
from lib.settings.release import Compute, ContainerSettings, ImageSettings, Limits, LocalService, Release, Service

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
    "Release",
    "Secret",
    "Service",
    "Settings",
    "load",
]

DATA_ENDINGS = (".csv", ".parquet")


class Settings(Struct, frozen=True):
    """Everything that a release may choose, loaded once by the task."""

    root: Path
    workspace: Workspace
    release: Release
    env: Env

    @property
    def folder(self) -> Path:
        """Where the local platform keeps everything, and another one what it has downloaded."""
        return self.root / self.env.local_workspace

    @property
    def records(self) -> Path:
        """Where the records of this platform are."""
        return self.root / "artifacts" / self.env.platform

    def training_on(self, compute: str) -> "Settings":
        """Return the same settings, but for where training runs; the platform says whether it has such a compute."""
        replace = msgspec.structs.replace
        return replace(self, release=replace(self.release, train=replace(self.release.train, compute=compute)))

    @property
    def data(self) -> Path | None:
        """The file to train on, or None where model/train.py brings its own data."""
        return self.root / self.release.train.data if self.release.train.data else None

    def of_platform(self, service: Service) -> dict[str, Any]:
        """Return what a service is made of on this platform, but for what its engine does not use."""
        made_of = msgspec.structs.asdict(getattr(service, self.env.platform))
        return {name: value for name, value in made_of.items() if name != "container" or self.containers}

    @property
    def containers(self) -> bool:
        """Whether this platform is this machine, and an engine runs containers on it."""
        return self.env.platform == "local" and self.release.local.engine == "container"


def load(root: Path) -> Settings:
    """Read all settings. Raises SettingsError that lists every problem."""
    problems: list[str] = []
    workspace = read(Workspace, parse(root / "config/config.json", problems), "config/config.json", problems)
    release = read(Release, parse(root / "config/release.toml", problems), "config/release.toml", problems)
    env = read(Env, read_env(root / ".env", problems), ".env", problems)
    release = with_existing_service(root / "config/aks_webservice.json", release, problems)
    if release:
        check_services(release, problems)
        check_data(release, problems)
    if env:
        check_numbers(env, problems)
    if problems or not (workspace and release and env):
        raise SettingsError("\n".join(problems))
    return Settings(root=root, workspace=overridden(workspace, env), release=release, env=env)


def overridden(workspace: Workspace, env: Env) -> Workspace:
    """Let AZURE_SUBSCRIPTION_ID and its like go before config.json."""
    given = {name: getattr(env, f"azure_{name}") for name in workspace.__struct_fields__}
    return msgspec.structs.replace(workspace, **{name: value for name, value in given.items() if value})


def with_existing_service(path: Path, release: Release | None, problems: list[str]) -> Release | None:
    """Let the cluster and the service of aks_webservice.json, where there is one, go before those of release.toml."""
    found = path.exists() and read(AksWebservice, parse(path, problems), f"config/{path.name}", problems)
    if not release or not found:
        return release
    replace = msgspec.structs.replace
    services, azureml = release.services, release.azureml
    if found.aks_service_name:
        services = replace(services, aks=replace(services.aks, name=found.aks_service_name))
    if found.aks_name:
        azureml = replace(azureml, aks=replace(azureml.aks, name=found.aks_name))
    return replace(release, services=services, azureml=azureml)


def check_services(release: Release, problems: list[str]) -> None:
    """Check what single fields cannot tell."""
    aci, aks = release.services.aci, release.services.aks
    if aci.name == aks.name:
        problems.append(f"config/release.toml: services.aci and services.aks are both named {aci.name}")
    if aci.local.port == aks.local.port:
        problems.append(f"config/release.toml: services.aci and services.aks both use port {aci.local.port}")
    scale = aks.azureml.autoscale
    if scale and scale.min_replicas > scale.max_replicas:
        problems.append("config/release.toml: services.aks.azureml.autoscale has more min_replicas than max_replicas")


def check_numbers(env: Env, problems: list[str]) -> None:
    """Check what .env can only give as text."""
    for name, most in (("vm_ssh_port", 65535), ("vm_silence_s", None)):
        value = getattr(env, name)
        if value is not None and not (value.isdecimal() and 1 <= int(value) <= (most or int(value))):
            problems.append(f".env: {name.upper()} must be a number {f'from 1 to {most}' if most else 'above 0'}")


def check_data(release: Release, problems: list[str]) -> None:
    """Check that data of the user's own is of a kind that can be read, and is named in one place."""
    data = release.train.data
    if data and not data.endswith(DATA_ENDINGS):
        problems.append(f'config/release.toml: train.data = "{data}" must end with {" or ".join(DATA_ENDINGS)}')
    if data and "data" in release.train.parameters:
        problems.append("config/release.toml: train.data and train.parameters.data are both set: choose one")
