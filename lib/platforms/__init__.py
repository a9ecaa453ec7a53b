"""The platforms, imported when used."""

import importlib
from typing import cast

from lib.interpreter import Interpreter
from lib.platforms.base import Platform
from lib.settings import Settings

PLATFORMS = {
    "local": "lib.platforms.local.platform:LocalPlatform",
    "azureml": "lib.platforms.azureml.platform:AzuremlPlatform",
}


def connect(settings: Settings, interpreter: Interpreter) -> Platform:
    """Return the platform that .env names."""
    module, name = PLATFORMS[settings.environment.platform].split(":")
    return cast(Platform, getattr(importlib.import_module(module), name)(settings, interpreter))
