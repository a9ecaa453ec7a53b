"""config/release.toml: the model, its training, the gate, the services and their limits."""

from typing import Literal

import msgspec

from lib.gate import Rule
from lib.settings.azureml import AciContainer, AksContainers, Azureml
from lib.settings.fields import Above0, Name, Port, Positive, Struct

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


class LocalService(Struct, frozen=True):
    """A service on this machine."""

    port: Port
    workers: Positive = 1


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


class Release(Struct, frozen=True):
    """config/release.toml."""

    model: Model
    train: Train
    gate: Rule
    services: Services
    limits: Limits
    azureml: Azureml = Azureml()
