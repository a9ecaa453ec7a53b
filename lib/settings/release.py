"""config/release.toml: the model, its training, the gate, the services and their limits."""

from typing import Literal

import msgspec

from lib.settings.azureml import AciContainer, AksContainers, Azureml
from lib.settings.fields import Above0, Name, Port, Positive, Reference, Struct

Compute = Literal["local", "env", "vm", "cluster"]


class Model(Struct, frozen=True):
    """What is trained and registered."""

    name: Name
    experiment: Name
    description: str = ""


class Train(Struct, frozen=True):
    """How model/train.py is run, and on what; the parameters become its arguments.

    `data` is a file, absolute or from the project's root; it is empty where the script brings its own data.
    """

    compute: Compute = "local"
    data: str = ""
    timeout_s: Above0 = 600
    parameters: dict[str, int | float | str] = msgspec.field(default_factory=dict)


class ContainerSettings(Struct, frozen=True):
    """How many containers a service has under an engine, and what each may use."""

    replicas: Positive = 1
    cpu_cores: Above0 = 1.0
    memory_gb: Above0 = 1.0


class LocalService(Struct, frozen=True):
    """A service on this machine; `workers` are those of each replica."""

    port: Port
    workers: Positive = 1
    container: ContainerSettings = ContainerSettings()


class Service(Struct, frozen=True):
    """One web service: its name, and what it is made of on each platform."""

    name: Name
    local: LocalService
    azureml: AciContainer | AksContainers


class AciService(Service, frozen=True):
    """The staging service, on Azure in Azure Container Instances."""

    azureml: AciContainer = AciContainer()


class AksService(Service, frozen=True):
    """The production service, on Azure in an AKS cluster."""

    azureml: AksContainers = AksContainers()


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """By which metric models are compared, and how much better is good enough.

    `smallest_improvement` and `floor` are in the metric's unit; the floor is the worst value that may go out.
    """

    metric: str
    direction: Literal["lower", "higher"]
    smallest_improvement: float = 0.0
    floor: float | None = None


class Services(Struct, frozen=True):
    """The staging service (aci) and the production service (aks)."""

    aci: AciService
    aks: AksService


class ImageSettings(Struct, frozen=True):
    """What a container image is built upon, and where it is pushed to; an empty registry keeps it with the engine."""

    base: Reference = "docker.io/library/python:3.11-slim"
    registry: Reference = ""
    build_timeout_s: Above0 = 1800


class Local(Struct, frozen=True):
    """What runs the services on this machine; `balancer` is the image of HAProxy that stands before containers."""

    engine: Literal["process", "container"] = "process"
    balancer: Reference = "docker.io/library/haproxy:3.2-alpine"


class Limits(Struct, frozen=True):
    """Limits of the services and their tests."""

    request_bytes: Positive = 1048576
    start_timeout_s: Above0 = 60
    test_rows: Positive = 20


class Release(Struct, frozen=True):
    """config/release.toml."""

    model: Model
    train: Train
    gate: Rule
    services: Services
    limits: Limits
    image: ImageSettings = ImageSettings()
    local: Local = Local()
    azureml: Azureml = Azureml()
