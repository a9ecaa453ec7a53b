"""What the loopback Azure remembers while it runs."""

import datetime
import itertools
import os
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.azure.client import Identity, environment
from tests.azure.faults import Faults
from tests.azure.storage import Storage

REGIONS = ["West Europe", "North Europe", "East US", "East US 2", "West US 2"]
Record = dict[str, Any]


def now() -> str:
    """Return the time as Azure writes it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "0+00:00")


def new_id() -> str:
    """Return a new GUID."""
    return str(uuid.uuid4())


@dataclass
class Workspace:
    """One Azure ML workspace: records as the interfaces show them, by name or id."""

    scope: str
    name: str
    group: str
    subscription: str
    location: str
    tags: dict[str, str]
    id: str = field(default_factory=new_id)
    created: str = field(default_factory=now)
    description: str = ""
    friendly_name: str = ""
    provisioning: str = "Succeeded"
    experiments: dict[str, Record] = field(default_factory=dict)
    runs: dict[str, Record] = field(default_factory=dict)
    metrics: dict[str, list[Record]] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Record]] = field(default_factory=dict)
    snapshots: dict[str, Record] = field(default_factory=dict)
    assets: dict[str, Record] = field(default_factory=dict)
    models: dict[str, Record] = field(default_factory=dict)
    environments: dict[str, list[Record]] = field(default_factory=dict)
    images: dict[str, Record] = field(default_factory=dict)
    packages: dict[str, Record] = field(default_factory=dict)
    contents: dict[str, Any] = field(default_factory=dict)
    operations: dict[str, Any] = field(default_factory=dict)
    serving: dict[str, Any] = field(default_factory=dict)
    services: dict[str, Record] = field(default_factory=dict)
    computes: dict[str, Record] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    processes: dict[str, Any] = field(default_factory=dict)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    @property
    def container(self) -> str:
        """The blob container of the workspace."""
        return f"azureml-{self.id}"

    def stop(self) -> None:
        """End what runs in the workspace."""
        for one in self.serving.values():
            one.replace(None)
        for process in self.processes.values():
            process.stop()

    def next_version(self, kind: str, name: str) -> int:
        """Return the next version of a name; none is given twice, even if it was deleted."""
        self.versions[f"{kind} {name}"] = self.versions.get(f"{kind} {name}", 0) + 1
        return self.versions[f"{kind} {name}"]


@dataclass
class State:
    """Everything of one loopback Azure."""

    folder: Path
    storage: Storage
    faults: Faults = field(default_factory=Faults)
    identity: Identity = field(default_factory=Identity)
    groups: dict[str, Record] = field(default_factory=dict)
    resources: dict[str, Record] = field(default_factory=dict)
    deployments: dict[str, Record] = field(default_factory=dict)
    workspaces: dict[str, Workspace] = field(default_factory=dict)
    certificates: dict[str, str] = field(default_factory=dict)  # of services, by their host: PEM with the key
    port: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)
    at_exit: list[Callable[[], None]] = field(default_factory=list)

    def group(self, name: str, location: str, tags: dict[str, str] | None = None) -> Record:
        """Create a resource group."""
        scope = f"/subscriptions/{self.identity.subscription}/resourceGroups/{name}"
        record = {
            "id": scope,
            "name": name,
            "type": "Microsoft.Resources/resourceGroups",
            "location": location,
            "tags": tags or {},
            "properties": {"provisioningState": "Succeeded"},
        }
        return self.groups.setdefault(scope.lower(), record)

    def workspace(self, name: str, group: str, location: str, tags: dict[str, str] | None = None) -> Workspace:
        """Create a workspace with its blob container."""
        subscription = self.identity.subscription
        scope = (
            f"/subscriptions/{subscription}/resourceGroups/{group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{name}"
        )
        made = Workspace(scope, name, group, subscription, location, tags or {})
        self.storage.create(made.container)
        self.workspaces[scope.lower()] = made
        return made

    def client_environment(self, home: Path) -> dict[str, str]:
        """Return the environment of a process that uses this Azure from outside, such as a run on a cluster."""
        home.mkdir(parents=True, exist_ok=True)
        clean = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
        own = environment(self.port, str(self.folder / "ca.pem"), home)
        return clean | {name: value for name, value in own.items() if not name.startswith("AZURE_")}

    def close(self) -> None:
        """End what was started."""
        for action in reversed(self.at_exit):
            action()
