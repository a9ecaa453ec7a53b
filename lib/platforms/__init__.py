"""The platforms, imported when used."""

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from lib.errors import SettingsError
from lib.forks.client import Forks
from lib.platforms.base import Platform
from lib.settings import Settings

if TYPE_CHECKING:
    from lib.settings.editing import SettingsFiles
    from lib.settings.questions import Topic

PLATFORMS = {
    "local": "lib.platforms.local.platform:LocalPlatform",
    "azureml": "lib.platforms.azureml.platform:AzuremlPlatform",
}


def connect(settings: Settings, forks: Forks) -> Platform:
    """Return the platform that .env names. Raises SettingsError if it cannot train on the chosen compute."""
    module, name = PLATFORMS[settings.env.platform].split(":")
    try:
        kind = cast(type[Platform], getattr(importlib.import_module(module), name))
    except ModuleNotFoundError as error:
        if str(error.name).startswith("lib."):
            raise
        raise SettingsError(
            f"PLATFORM={settings.env.platform} needs the package {error.name}, which is not installed\n"
            "Run `make env`: it installs what the platform of .env needs"
        ) from None
    compute = settings.release.train.compute
    if compute not in kind.computes:
        raise SettingsError(
            f"PLATFORM={kind.name} cannot train on {compute}, only on {', '.join(kind.computes)}\n"
            "Choose one of these (train.compute in config/release.toml, or --on), or another PLATFORM in .env"
        )
    return cast(Platform, cast(Any, kind)(settings, forks))


def topics(name: str, files: "SettingsFiles") -> Iterator["Topic"]:
    """Yield the open questions that a release on a platform needs answers to."""
    questions = importlib.import_module(f"lib.platforms.{name}.questions")
    return cast(Iterator["Topic"], questions.topics(files))
