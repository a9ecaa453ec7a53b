"""TLS of the services. Keys are not sent over http, unless the settings say so or say nothing."""

import ipaddress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lib.errors import SettingsError
from lib.settings import AksContainers, Env, Service, Settings


def certificate(service: Service, env: Env) -> dict[str, Any]:
    """Return host name, certificate and key under the SDK's names. Raises SettingsError if one is missing."""
    kind = "aks" if isinstance(service.azureml, AksContainers) else "aci"
    values = {
        "ssl_cname": service.azureml.tls_host,
        "ssl_cert_pem_file": getattr(env, f"{kind}_tls_certificate_file"),
        "ssl_key_pem_file": getattr(env, f"{kind}_tls_key_file"),
    }
    missing = [name for name, value in values.items() if not value or (name.endswith("file") and not _is_file(value))]
    if missing:
        raise SettingsError(
            f'services.{kind}.azureml.tls = "custom" needs tls_host beside it in config/release.toml, and\n'
            f"{kind.upper()}_TLS_CERTIFICATE_FILE and {kind.upper()}_TLS_KEY_FILE in .env, which name PEM files"
        )
    return {name: str(Path(value).expanduser()) if name.endswith("file") else value for name, value in values.items()}


def require_certificates(settings: Settings) -> None:
    """Raise SettingsError if a service asks for your own certificate and .env does not name it."""
    services = settings.release.services
    for service in (services.aci, services.aks):
        if service.azureml.tls == "custom":
            certificate(service, settings.env)


def of_new_service(service: Service, env: Env) -> dict[str, Any]:
    """Return the TLS settings of a new service. On AKS, TLS belongs to the cluster."""
    if isinstance(service.azureml, AksContainers) or service.azureml.tls != "custom":
        return {}
    return {"ssl_enabled": True} | certificate(service, env)


def enable(configuration: Any, settings: Settings) -> None:
    """Give a new AKS cluster the TLS that the production service asks for."""
    aks = settings.release.services.aks
    if aks.azureml.tls == "auto":
        configuration.enable_ssl(leaf_domain_label=settings.release.azureml.aks.name.lower())
    elif aks.azureml.tls == "custom":
        configuration.enable_ssl(**certificate(aks, settings.env))


def cluster_trouble(target: Any, service: Service) -> str:
    """Return why an existing AKS cluster does not offer the TLS of the settings; an empty string if it does."""
    configuration = getattr(target, "ssl_configuration", None)
    enabled = configuration is not None and configuration.status != "Disabled"
    host = configuration.cname if configuration is not None and enabled else ""
    if target is None or not _required(service):
        return ""
    if host and host != service.azureml.tls_host:
        return (
            f"its certificate is for {host}, and services.aks.azureml asks for "
            f"{service.azureml.tls_host or 'another one'}\nName another cluster, or set tls and tls_host to match"
        )
    return (
        ""
        if enabled
        else (
            f'it has no TLS, and services.aks.azureml.tls = "{service.azureml.tls}" asks for it\n'
            'Name another cluster, or write tls = "none" to send keys and rows in clear text as before'
        )
    )


def exposed(service: Service, uri: str) -> str:
    """Return why keys must not be sent to an address; an empty string if they may be."""
    if _required(service) and not _is_safe(uri):
        return f'its address {uri} is http, and tls = "{service.azureml.tls}" asks for https: no key is sent there'
    return ""


def warning(service: Service) -> str:
    """Return a warning if nobody has decided about a service's TLS."""
    if service.azureml.tls is not None:
        return ""
    choices = '"auto", "custom" or "none"' if isinstance(service.azureml, AksContainers) else '"custom" or "none"'
    return f"service {service.name} answers over http, with its keys in clear text: set tls = {choices} (docs/azure.md)"


def _required(service: Service) -> bool:
    return service.azureml.tls in ("auto", "custom")


def _is_safe(uri: str) -> bool:
    url = urlsplit(uri)
    try:
        return url.scheme == "https" or ipaddress.ip_address(url.hostname or "").is_loopback
    except ValueError:
        return url.hostname == "localhost"


def _is_file(path: str) -> bool:
    return Path(path).expanduser().is_file()
