"""config/release.toml: the model, its training, the gate, the services and their limits."""

from typing import Literal

import msgspec

from lib.settings.azureml import AciContainer, AksContainers, Azureml
from lib.settings.fields import Above0, Name, NotNegative, Port, Positive, Reference, Struct, VariableName
from lib.settings.metrics import Direction, direction_of

Parameter = bool | int | float | str | list[int | float | str]
Compute = Literal["local", "env", "vm", "cluster"]


class Model(Struct, frozen=True):
    """The model to train and register."""

    name: Name
    experiment: Name
    description: str = ""


class Train(Struct, frozen=True):
    """How model/train.py runs, and where; the parameters become its arguments.

    `data` is a file, absolute or relative to the project's root; it is empty if the script loads its own data. Then
    `data_version` may say when these change: a command, whose output is compared, or "always". `secrets` are variables
    of .env that only the script receives.
    """

    compute: Compute = "local"
    data: str = ""
    data_version: str = ""
    timeout_s: Above0 = 600
    secrets: list[VariableName] = msgspec.field(default_factory=list)
    parameters: dict[str, Parameter] = msgspec.field(default_factory=dict)


class ContainerSettings(Struct, frozen=True):
    """The containers of a service under an engine: their number, and the limits of each."""

    replicas: Positive = 1
    cpu_cores: Above0 = 1.0
    memory_gb: Above0 = 1.0


class LocalService(Struct, frozen=True):
    """A service on this machine; each replica has `workers` processes."""

    port: Port
    workers: Positive = 1
    container: ContainerSettings = ContainerSettings()


class Service(Struct, frozen=True):
    """A web service: its name, its resources on each platform, and variables that only service/score.py receives.

    `env` has names with values, `secrets` the names of variables of .env.
    """

    name: Name
    local: LocalService
    azureml: AciContainer | AksContainers
    env: dict[VariableName, str] = msgspec.field(default_factory=dict)
    secrets: list[VariableName] = msgspec.field(default_factory=list)


class AciService(Service, frozen=True):
    """The staging service, on Azure in Azure Container Instances."""

    azureml: AciContainer = AciContainer()


class AksService(Service, frozen=True):
    """The production service, on Azure in an AKS cluster."""

    azureml: AksContainers = AksContainers()


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The gate's rule: the metric, and how much better a new model must be.

    `smallest_improvement` and `floor` are in the metric's unit; a model worse than the floor is never deployed.
    `direction` may be left out if the metric's name implies it. `holdout` is a file with rows for all evaluations,
    relative to the project's root; if it is empty, the training leaves them. `target` is the column with true values.
    `time_budget_s` limits the resampling. `incomparable` decides if two models cannot be compared on the same rows.
    """

    metric: str
    direction: Direction = ""  # type: ignore[assignment]  # never empty, see __post_init__
    smallest_improvement: float = 0.0
    floor: float | None = None
    holdout: str = ""
    target: str = "target"
    time_budget_s: Above0 = 60
    incomparable: Literal["hold", "promote"] = "hold"

    def __post_init__(self) -> None:
        """Complete the direction. Raises ValueError if the metric's name implies another direction, or none."""
        implied = direction_of(self.metric)
        if not (self.direction or implied):
            raise ValueError(f'needs direction = "lower" or "higher": the name {self.metric} does not imply it')
        if implied and self.direction not in ("", implied):
            raise ValueError(f"has the wrong direction: {implied} is better for {self.metric}; leave it out")
        msgspec.structs.force_setattr(self, "direction", self.direction or implied)


class Services(Struct, frozen=True):
    """The staging service (aci) and the production service (aks)."""

    aci: AciService
    aks: AksService


class ImageSettings(Struct, frozen=True):
    """The base of container images, and the registry that they are pushed to; without one, the engine keeps them."""

    base: Reference = "docker.io/library/python:{python}-slim"
    registry: Reference = ""
    build_timeout_s: Above0 = 1800


class Local(Struct, frozen=True):
    """This machine. `balancer` is the image of HAProxy, which routes requests to containers.

    `keep` limits how many models are kept besides those of staging, production and the version before it; default: all.
    """

    engine: Literal["process", "container"] = "process"
    keep: NotNegative | None = None
    balancer: Reference = "docker.io/library/haproxy:3.2-alpine"


class Scoring(Struct, frozen=True):
    """The form of requests and answers, if the rehearsal should not find it: JSON with ROWS, and with PREDICTIONS."""

    request: str = ""
    response: str = ""


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
    service: Scoring = Scoring()
    image: ImageSettings = ImageSettings()
    local: Local = Local()
    azureml: Azureml = Azureml()

    @property
    def secrets(self) -> dict[tuple[str, ...], list[str]]:
        """The names of secrets by the setting that lists them."""
        services = self.services
        return {
            ("train", "secrets"): self.train.secrets,
            ("services", "aci", "secrets"): services.aci.secrets,
            ("services", "aks", "secrets"): services.aks.secrets,
        }
