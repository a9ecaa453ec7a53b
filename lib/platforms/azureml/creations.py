"""Which compute targets this release created. SDK v1 cannot tag an AKS cluster, so the workspace's tags say it.

A tag's value is "DOING; RELEASE; created TIME". The time is Azure's: a cluster with the same name that somebody else
created later has another one. Versions before 0.2 noted no time, the first ones no release.
"""

from typing import Any

from azureml.core import Workspace

from lib.platforms.azureml.retry import retrying
from lib.settings import Settings

PREFIX = "made_by_invoke-release_compute_"
SEPARATOR, TIME = "; ", "; created "


def note(workspace: Workspace, settings: Settings, name: str, doing: str, target: Any = None) -> None:
    """Note that this release creates a target; with the `target`, that it was created."""
    time = f"{TIME}{_time(target)}" if target is not None and _time(target) else ""
    value = f"{doing}{SEPARATOR}{_release(settings)}{time}"
    workspace.update(tags=_tags(workspace) | {f"{PREFIX}{name}": value})


def erase(workspace: Workspace, name: str) -> None:
    """Erase the note of a target."""
    workspace.update(tags={tag: value for tag, value in _tags(workspace).items() if tag != f"{PREFIX}{name}"})


def names(workspace: Workspace, settings: Settings, targets: dict[str, Any]) -> list[str]:
    """Return the names of the targets that this release created, of all `targets` in the workspace.

    Those that no longer exist are among them, so that their notes can be erased.
    """
    notes = {tag.removeprefix(PREFIX): value for tag, value in _tags(workspace).items() if tag.startswith(PREFIX)}
    return [name for name, value in notes.items() if _is_own(value, settings, targets.get(name))]


def doing(workspace: Workspace, name: str) -> str:
    """Return what was done with a target, such as `attaching as USER`; an empty string if nothing is noted."""
    return _tags(workspace).get(f"{PREFIX}{name}", "").partition(SEPARATOR)[0]


def _is_own(value: str, settings: Settings, target: Any) -> bool:
    value, _, time = value.partition(TIME)
    same_target = target is None or not time or time == _time(target)
    return same_target and value.partition(SEPARATOR)[2] in ("", _release(settings))


def _release(settings: Settings) -> str:
    """Return this release's name in a note."""
    return " of ".join(filter(None, (settings.release.model.name, settings.release.azureml.owner)))


def _time(target: Any) -> str:
    return target.created_on.isoformat() if target.created_on else ""


def _tags(workspace: Workspace) -> dict[str, str]:
    """Return the workspace's present tags. The SDK's object keeps those from when it was created."""
    return dict(retrying("the workspace's tags", workspace.get_details).get("tags") or {})
