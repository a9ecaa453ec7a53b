"""The version in production: whether it serves, and how it comes back to the production service."""

from collections.abc import Iterator

from lib.platforms.base import Deployment
from lib.release.steps.step import Context


def restore(context: Context) -> str:
    """Deploy the version in production again, and return a line for people."""
    production = context.platform.models.production()
    if production is None:
        return "No version was in production before, so none was brought back"
    deployment = Deployment(
        service=context.settings.release.services.aks,
        image=production.image,
        model_name=context.settings.release.model.name,
        model_version=production.version,
        # Nothing to compare: it passed its checks when it was first deployed, and its record may be gone.
        rows=[],
        predictions=[],
    )
    context.platform.services.deploy(deployment)
    return f"Version {production.version} serves again"


def revive(context: Context) -> Iterator[str]:
    """Start the production service again if it does not serve, and yield a line for people.

    For a release whose model the gate holds: it deploys nothing, but production must still serve.
    """
    production = context.platform.models.production()
    service = context.platform.services.find(context.settings.release.services.aks)
    if production and (service is None or service.trouble):
        yield f"{restore(context)}: {service.trouble if service else 'the service was gone'}"


def trouble(context: Context) -> str:
    """Return why production is down; an empty string if it serves, or if nothing was ever in production."""
    if context.platform.models.production() is None:
        return ""
    service = context.platform.services.find(context.settings.release.services.aks)
    if service and service.state == "serving":
        return ""
    name = context.settings.release.services.aks.name
    return f"production is down: {name}: {service.trouble if service else 'the service was removed'}"


def strangers(context: Context) -> Iterator[str]:
    """Yield a line for each service whose address something else occupies."""
    services = context.settings.release.services
    for service in (services.aci, services.aks):
        if line := context.platform.services.stranger(service):
            yield line
