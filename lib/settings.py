"""The settings of a release, read once from config/ and .env. All that is wrong with them is reported at once."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from lib.errors import SettingsError
from lib.gate import Rule
from lib.parsing import parse, read

Name = Annotated[str, msgspec.Meta(pattern="^[a-z]([a-z0-9-]{1,30})[a-z0-9]$", description="3 to 32 of a-z, 0-9 and -")]
ComputeName = Annotated[str, msgspec.Meta(pattern="^[a-zA-Z][a-zA-Z0-9-]{1,14}[a-zA-Z0-9]$")]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Above0 = Annotated[float, msgspec.Meta(gt=0)]
Port = Annotated[int, msgspec.Meta(ge=1024, le=65535)]
Percent = Annotated[int, msgspec.Meta(ge=1, le=100)]
KEY_LENGTH = 32
SECRETS = ("SCORING_KEY_PRIMARY", "SCORING_KEY_SECONDARY", "AZURE_CLIENT_SECRET", "VM_PASSWORD")
SIGN_IN = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")


class Secret:
    """A value that prints as ***."""

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself."""
        return self._value

    def __repr__(self) -> str:
        return "***"


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings that cannot be changed, and have no unknown fields."""


class Workspace(Struct, frozen=True):
    """config.json: the workspace, as Azure ML names it."""

    subscription_id: str
    resource_group: str
    workspace_name: str
    location: str


class AksWebservice(Struct, frozen=True):
    """aks_webservice.json, which may be missing: an AKS cluster and a service that are there already."""

    aks_name: str | None = None
    aks_service_name: Name | None = None


class Model(Struct, frozen=True):
    """What is trained and registered."""

    name: Name
    experiment: Name
    description: str = ""


class Train(Struct, frozen=True):
    """How model/train.py is run; the parameters become its arguments."""

    compute: Literal["local", "env", "vm", "cluster"] = "local"
    timeout_s: Above0 = 600
    parameters: dict[str, int | float | str] = {}


class LocalService(Struct, frozen=True):
    """A service on this machine."""

    port: Port
    workers: Positive = 1


class AciContainer(Struct, frozen=True, tag="aci"):
    """A service on Azure Container Instances; an empty location is the workspace's."""

    cpu_cores: Above0 = 1.0
    memory_gb: Above0 = 1.0
    location: str = ""


class Autoscale(Struct, frozen=True):
    """How many replicas there may be, and at how much of their capacity more are started."""

    min_replicas: Positive = 1
    max_replicas: Positive = 10
    target_percent: Percent = 70


class AksContainers(Struct, frozen=True, tag="aks"):
    """A service on an AKS cluster, with a fixed number of replicas or `autoscale`."""

    cpu_cores: Above0 = 0.5
    memory_gb: Above0 = 1.0
    replicas: Positive = 2
    autoscale: Autoscale | None = None


class Service(Struct, frozen=True):
    """One web service: its name, and what it is made of on each platform."""

    name: Name
    local: LocalService
    azureml: AciContainer | AksContainers


class Staging(Service, frozen=True):
    """The staging service, on Azure in Azure Container Instances."""

    azureml: AciContainer = AciContainer()


class Production(Service, frozen=True):
    """The production service, on Azure in an AKS cluster."""

    azureml: AksContainers = AksContainers()


class Services(Struct, frozen=True):
    """The staging service (aci) and the production service (aks)."""

    aci: Staging
    aks: Production


class Limits(Struct, frozen=True):
    """Limits of the services and their tests."""

    request_bytes: Positive = 1048576
    start_timeout_s: Above0 = 60
    test_rows: Positive = 20


class Cluster(Struct, frozen=True):
    """The AmlCompute that trains where train.compute is `cluster`; it scales to zero."""

    name: ComputeName = "training"
    vm_size: str = "Standard_DS2_v2"
    max_nodes: Positive = 1
    idle_s: Positive = 300


class AksCluster(Struct, frozen=True):
    """The AKS cluster of the production service; an empty location is the workspace's."""

    name: ComputeName = "release-aks"
    vm_size: str = "Standard_D3_v2"
    nodes: Positive = 3
    location: str = ""


class Azureml(Struct, frozen=True):
    """Azure ML. `create` names what may be created, which costs money: workspace, cluster, aks."""

    create: list[Literal["workspace", "cluster", "aks"]] = []
    vm: ComputeName = "training-vm"
    cluster: Cluster = Cluster()
    aks: AksCluster = AksCluster()
    build_timeout_s: Above0 = 3600
    deploy_timeout_s: Above0 = 1800


class Release(Struct, frozen=True):
    """config/release.toml."""

    model: Model
    train: Train
    gate: Rule
    services: Services
    limits: Limits
    azureml: Azureml = Azureml()


class Environment(Struct, frozen=True):
    """.env and the environment, which goes before .env."""

    platform: Literal["local", "azureml"] = "local"
    local_workspace: str = ".workspace"
    scoring_key_primary: Secret | None = None
    scoring_key_secondary: Secret | None = None
    azure_tenant_id: str | None = None
    azure_client_id: str | None = None
    azure_client_secret: Secret | None = None
    azure_subscription_id: str | None = None
    azure_resource_group: str | None = None
    azure_workspace_name: str | None = None
    azure_location: str | None = None
    vm_resource_id: str | None = None
    vm_user: str | None = None
    vm_password: Secret | None = None
    vm_ssh_key_file: str | None = None
    vm_ssh_port: str = "22"


class Settings(Struct, frozen=True):
    """Everything that a release may choose, loaded once by the task."""

    root: Path
    workspace: Workspace
    release: Release
    environment: Environment

    @property
    def folder(self) -> Path:
        """Where the local platform keeps everything, and another one what it has downloaded."""
        return self.root / self.environment.local_workspace

    @property
    def records(self) -> Path:
        """Where the records of this platform are."""
        return self.root / "artifacts" / self.environment.platform

    def of_platform(self, service: Service) -> Struct:
        """What a service is made of on this platform."""
        found = getattr(service, self.environment.platform)
        assert isinstance(found, Struct)  # noqa: S101 - the platforms' names are those of the fields
        return found


def load(root: Path) -> Settings:
    """Read all settings. Raises SettingsError that lists every problem."""
    problems: list[str] = []
    workspace = read(Workspace, parse(root / "config/config.json", problems), "config/config.json", problems)
    release = read(Release, parse(root / "config/release.toml", problems), "config/release.toml", problems)
    environment = read(Environment, read_environment(root / ".env", problems), ".env", problems)
    release = with_existing_service(root / "config/aks_webservice.json", release, problems)
    if release and environment:
        check_services(release, problems)
        check_computes(release, environment, problems)
    if problems or not (workspace and release and environment):
        raise SettingsError("\n".join(problems))
    return Settings(root=root, workspace=overridden(workspace, environment), release=release, environment=environment)


def overridden(workspace: Workspace, environment: Environment) -> Workspace:
    """Let AZURE_SUBSCRIPTION_ID and its like go before config.json."""
    given = {name: getattr(environment, f"azure_{name}") for name in workspace.__struct_fields__}
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


def read_environment(path: Path, problems: list[str]) -> dict[str, Any]:
    """Merge .env and the environment; what is secret becomes a Secret at once."""
    from dotenv import dotenv_values

    known = {name.upper() for name in Environment.__struct_fields__}
    given = {name: value for name, value in dotenv_values(path).items() if value}
    given |= {name: os.environ[name] for name in known if os.environ.get(name)}
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


def check_computes(release: Release, environment: Environment, problems: list[str]) -> None:
    """Check that the platform has the compute that trains, and that .env says what it needs."""
    compute = release.train.compute
    if environment.platform == "local" and compute != "local":
        problems.append(f'config/release.toml: train.compute = "{compute}" needs PLATFORM=azureml in .env')
    if not environment.vm_ssh_port.isdigit():
        problems.append(".env: VM_SSH_PORT must be a number")
