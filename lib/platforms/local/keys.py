"""The keys of services: from .env, or generated here, in a file that only this user can read."""

import json
import secrets
from pathlib import Path

from lib import files
from lib.errors import ReleaseError
from lib.image.scoring_keys import NAMES
from lib.platforms.base import KEY_NAMES, KeyName
from lib.settings import Env, Secret

KEY_BYTES = 24


class Keys:
    """Two keys for each service, so that one can be renewed while clients use the other.

    `folder`.json holds the generated keys. `folder` holds a folder for each service, from which its replicas read the
    keys that they accept; see lib/image/scoring_keys.py.
    """

    def __init__(self, folder: Path, env: Env) -> None:
        self._folder = folder
        self._path = folder.with_suffix(".json")
        self._from_env = dict(zip(KEY_NAMES, (env.scoring_key_primary, env.scoring_key_secondary), strict=True))

    def is_in_env(self, key: KeyName) -> bool:
        """Return whether .env sets a key."""
        return self._from_env[key] is not None

    def of(self, service: str) -> tuple[Secret, Secret]:
        """Return a service's keys. Generates those that do not exist."""
        primary, secondary = self._from_env.values()
        if primary and secondary:
            return primary, secondary
        keys = self._read()
        if service not in keys:
            keys[service] = [_generate(), _generate()]
            self._write(keys)
        return primary or Secret(keys[service][0]), secondary or Secret(keys[service][1])

    def publish(self, service: str) -> Path:
        """Write a service's keys where its replicas read them, and return that folder. Running replicas notice.

        A container's process is another user than this one, so everyone may read the files; the folder around them is
        closed instead.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        for name, key in zip(NAMES, self.of(service), strict=True):
            path = self._folder / service / name
            if not path.exists() or path.read_text() != key.reveal():
                files.write(path, key.reveal().encode(), mode=0o444)
        return self._folder / service

    def renew(self, service: str, key: KeyName) -> None:
        """Generate one new key for a service, and publish it."""
        self.of(service)  # generates both keys if there are none
        keys = self._read()
        keys[service][KEY_NAMES.index(key)] = _generate()
        self._write(keys)
        self.publish(service)

    def remove(self, service: str) -> None:
        """Forget a service's keys."""
        for name in NAMES:
            (self._folder / service / name).unlink(missing_ok=True)
        keys = self._read()
        if keys.pop(service, None):
            self._write(keys)

    def _write(self, keys: dict[str, list[str]]) -> None:
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


def _generate() -> str:
    return secrets.token_urlsafe(KEY_BYTES)
