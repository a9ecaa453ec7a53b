"""The settings of a service: under the SDK's names, and as a digest in its tags."""

from typing import Any

import msgspec

from lib.files import digest
from lib.settings import AksContainers, Service


def is_aks(service: Service) -> bool:
    """Return whether a service runs on AKS."""
    return isinstance(service.azureml, AksContainers)


def fingerprint(service: Service) -> str:
    """Return a short digest of a service's settings."""
    fields = msgspec.to_builtins(service.azureml)
    # Services from before there were TLS settings keep their digest.
    values = {name: value for name, value in fields.items() if not (name.startswith("tls") and value is None)}
    values |= {"env": dict(sorted(service.env.items()))} if service.env else {}
    return digest(msgspec.json.encode(values))[:12]


def of_new_service(service: Service) -> dict[str, Any]:
    """Return the settings under the SDK's names."""
    container = service.azureml
    resources: dict[str, Any] = {"cpu_cores": container.cpu_cores, "memory_gb": container.memory_gb}
    if not isinstance(container, AksContainers):
        return resources | {"location": container.location or None}
    if container.autoscale is None:
        return resources | {"autoscale_enabled": False, "num_replicas": container.replicas}
    return resources | {
        "autoscale_enabled": True,
        "autoscale_min_replicas": container.autoscale.min_replicas,
        "autoscale_max_replicas": container.autoscale.max_replicas,
        "autoscale_target_utilization": container.autoscale.target_percent,
    }


def of_update(service: Service) -> dict[str, Any]:
    """Return the settings that an update can change: ACI keeps cpu, memory and location for a service's whole life."""
    return of_new_service(service) if is_aks(service) else {}


def can_update(webservice: Any, service: Service) -> bool:
    """Return whether an update of the SDK's object is enough to put the settings into use."""
    return is_aks(service) or (webservice.tags or {}).get("settings") in (None, fingerprint(service))
