"""`invoke destroy`: plan what to remove, then remove it."""

from collections.abc import Iterator

from lib.errors import RefusedError, SettingsError
from lib.platforms.base import Platform, Resource
from lib.settings import Settings

KINDS = ("service", "image", "model", "compute", "workspace")


def plan(platform: Platform, kind: str, name: str = "") -> list[Resource]:
    """Return the resources to remove: all (kind workspace), all of a kind, or the one with a name.

    Only the plan for everything contains the version in production. An image that was in production, or that a service
    runs, is kept unless it is named.
    Raises SettingsError for an unknown kind, RefusedError for a model or image that is in use.
    """
    if kind not in KINDS:
        raise SettingsError(f"unknown kind {kind}: choose one of {', '.join(KINDS)}")
    matches = [item for item in platform.resources() if kind in (item.kind, "workspace") and name in ("", item.name)]
    production = platform.models.production()
    in_use = {("model", str(production.version)), ("image", production.image)} if production else set()
    if kind == "workspace":
        return matches
    if name and any((match.kind, match.name) in in_use for match in matches):
        raise RefusedError(f"{kind} {name} is in production\nRelease another one first, or `invoke destroy` everything")
    if name and any(match.used for match in matches):
        raise RefusedError(f"a service runs {kind} {name}\nDeploy another image to it, or remove the service first")
    if not name:
        in_use |= {("image", entry.image) for entry in platform.models.history()}  # the report compares with them
    return [match for match in matches if (match.kind, match.name) not in in_use and not match.used]


def production_in(settings: Settings, resources: list[Resource]) -> str:
    """Return the name of the production service if it is in the plan, else an empty string."""
    name = settings.release.services.aks.name
    return name if any((resource.kind, resource.name) == ("service", name) for resource in resources) else ""


def carry_out(platform: Platform, resources: list[Resource]) -> Iterator[str]:
    """Remove the resources of a plan, and yield a line for each that cannot be reached and therefore remains."""
    for resource in resources:  # a platform lists the workspace last: the other resources need it
        if remainder := platform.remove(resource):
            yield remainder
