"""The keys of services: from .env, or generated here, in a file that only this user can read."""

import json
import secrets
from pathlib import Path

from lib import files
from lib.errors import ReleaseError
from lib.settings import Env, Secret

KEY_BYTES = 24


class Keys:
    """Two keys for each service, so that one can be renewed while clients use the other."""

    def __init__(self, path: Path, env: Env) -> None:
        self._path = path
        self._from_env = (env.scoring_key_primary, env.scoring_key_secondary)

    @property
    def are_in_env(self) -> bool:
        """Whether .env sets a key."""
        return any(self._from_env)

    def of(self, service: str) -> tuple[Secret, Secret]:
        """Return a service's keys. Generates those that do not exist."""
        primary, secondary = self._from_env
        if primary and secondary:
            return primary, secondary
        keys = self._read()
        if service not in keys:
            keys = self.renew(service)
        return primary or Secret(keys[service][0]), secondary or Secret(keys[service][1])

    def renew(self, service: str) -> dict[str, list[str]]:
        """Generate new keys for a service, which it accepts from its next deployment on. Returns all keys."""
        keys = self._read() | {service: [secrets.token_urlsafe(KEY_BYTES) for _ in range(2)]}
        files.write(self._path, json.dumps(keys).encode(), mode=0o600)
        return keys

    def remove(self, service: str) -> None:
        """Forget a service's keys."""
        keys = self._read()
        if keys.pop(service, None):
            files.write(self._path, json.dumps(keys).encode(), mode=0o600)

    def _read(self) -> dict[str, list[str]]:
        try:
            return dict(json.loads(self._path.read_bytes()))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise ReleaseError(
                f"{self._path} is damaged: {error}\nRemove it: the next deployment generates new keys"
            ) from None
