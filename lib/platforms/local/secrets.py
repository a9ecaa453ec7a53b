"""The secrets of services on this machine: values of .env, in files that the replicas of one service read."""

import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from lib import files
from lib.errors import SettingsError
from lib.redaction import read_folder
from lib.settings import Secret, Service


class Secrets:
    """A folder for each deployment of a service, with a file for each secret.

    A container's process is another user than this one, so everyone may read the files; the folder around them is
    closed instead.
    """

    def __init__(self, folder: Path, values: Mapping[str, Secret]) -> None:
        self._folder = folder
        self._values = values

    def publish(self, service: Service) -> str:
        """Write the secrets of a new deployment, and return the name of their folder; "" if the service has none.

        Raises SettingsError if one of them is not set.
        """
        if absent := [name for name in service.secrets if name not in self._values]:
            raise SettingsError(f"{service.name} needs {', '.join(absent)}\nSet it in .env or in the environment")
        if not service.secrets:
            return ""
        name = uuid.uuid4().hex[:12]
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        for secret in service.secrets:
            files.write(self._folder / service.name / name / secret, self._values[secret].reveal().encode(), mode=0o444)
        return name

    def place(self, service: str, name: str) -> Path | None:
        """Return the folder of a deployment's secrets; None if it has none."""
        return self._folder / service / name if name else None

    def has_changed(self, service: Service, name: str) -> bool:
        """Return whether a deployment has other secrets than the settings. A secret that is not set is no change."""
        place = self.place(service.name, name)
        deployed = read_folder(str(place)) if place and place.is_dir() else {}
        if deployed.keys() != set(service.secrets):
            return True
        return any(self._values[each].reveal() != deployed[each] for each in service.secrets if each in self._values)

    def keep_only(self, service: str, name: str = "") -> None:
        """Remove the secrets of a service's other deployments."""
        for folder in (self._folder / service).glob("*"):
            if folder.name != name:
                shutil.rmtree(folder, ignore_errors=True)
