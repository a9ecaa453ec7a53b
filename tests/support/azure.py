"""A workspace of its own in the loopback Azure of all tests, for tests of the platform."""

import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lib import platforms
from lib.errors import ReleaseError
from lib.platforms.base import Platform
from lib.settings import Service
from tests.azure.loopback import LoopbackAzure
from tests.support.ground import Ground


class AzureWorkspace(Ground):
    """A workspace of its own in the loopback Azure of all tests."""

    def __init__(self, root: Path, azure: LoopbackAzure) -> None:
        self.azure, self.name = azure, f"workspace-{uuid.uuid4().hex[:12]}"
        azure.add_workspace(self.name, "release")
        self.outside = dict(os.environ)
        os.environ.update(azure.environment | {"HOME": str(azure.home()), "AZURE_WORKSPACE_NAME": self.name})
        super().__init__(root, "azureml")

    def limited(self, **azureml: Any) -> Platform:
        """Give the platform with other settings of Azure ML, such as short limits."""
        replace, release = msgspec.structs.replace, self.settings.release
        changed_release = replace(release, azureml=replace(release.azureml, **azureml))
        return platforms.connect(replace(self.settings, release=changed_release), self.forks)

    def empty_cache(self) -> None:
        """Forget what was downloaded."""
        shutil.rmtree(self.settings.folder / "azureml")

    def things(self, kind: str) -> list[str]:
        """Return the names of what is in the workspace."""
        found = self.azure.state()["workspaces"]
        return next(list(one[kind]) for scope, one in found.items() if scope.endswith(f"/{self.name}"))

    def requests(self, **patterns: str) -> list[dict[str, Any]]:
        return self.azure.requests(**({"path": f"/workspaces/{self.name}(/|$)"} | patterns))

    def disconnect(self) -> None:
        os.environ.clear()
        os.environ.update(self.outside)


def named(ground: AzureWorkspace, kind: str) -> Service:
    """Give a staging (aci) or production (aks) service of a name that is not used yet."""
    service: Service = getattr(ground, kind)
    return msgspec.structs.replace(service, name=f"{kind}-{uuid.uuid4().hex[:8]}")


def failing(call: Callable[[], Any], *said: str, lines: int = 3, exit_code: int = 1) -> str:
    """Call what must fail with an error of some lines, and return the error."""
    with pytest.raises(ReleaseError) as raised:
        call()
    message = str(raised.value)
    for part in said:
        assert part in message
    assert len(message.splitlines()) <= lines, message
    assert raised.value.exit_code == exit_code
    return message
