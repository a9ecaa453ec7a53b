"""Remove what a platform created, after its plan was shown."""

from collections.abc import Iterator

from lib.errors import RefusedError, SettingsError
from lib.platforms.base import Platform, Resource
from lib.settings import Settings

KINDS = ("service", "image", "model", "compute", "workspace")


def plan(platform: Platform, kind: str, name: str = "") -> list[Resource]:
    """List what would be removed.

    What is in production is only in the plan to remove everything, and an image that was in production, or that a
    service runs, only where it is named as well.
    Raises SettingsError for an unknown kind, RefusedError for a model or an image that is in production.
    """
    if kind not in KINDS:
        raise SettingsError(f"--kind {kind} is unknown, known are {', '.join(KINDS)}")
    chosen = [one for one in platform.resources() if kind in (one.kind, "workspace") and name in ("", one.name)]
    production = platform.production()
    in_use = {("model", str(production.version)), ("image", production.image)} if production else set()
    if kind == "workspace":
        return chosen
    if name and any((one.kind, one.name) in in_use for one in chosen):
        raise RefusedError(f"{kind} {name} is in production\nRelease another one first, or `invoke destroy` everything")
    if name and any(one.used for one in chosen):
        raise RefusedError(f"{kind} {name} runs in a service\nDeploy another one there, or remove the service first")
    if not name:
        in_use |= {("image", one.image) for one in platform.history()}
    return [one for one in chosen if (one.kind, one.name) not in in_use and not one.used]


def production_in(settings: Settings, resources: list[Resource]) -> str:
    """Return the name of the production service where it would be removed, else an empty string."""
    name = settings.release.services.aks.name
    return name if any((one.kind, one.name) == ("service", name) for one in resources) else ""


def carry_out(platform: Platform, resources: list[Resource]) -> Iterator[str]:
    """Remove what is listed, the workspace last, and yield what could no longer be reached and stays."""
    for resource in resources:
        if left := platform.remove(resource):
            yield left
