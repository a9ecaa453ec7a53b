"""The keys of services: those in .env, or ones made here, in a file that only this user can read."""

import json
import secrets
from pathlib import Path

from lib import files
from lib.errors import ReleaseError
from lib.settings import Env, Secret

KEY_BYTES = 24


class Keys:
    """Two keys for each service, so that one can be changed while clients use the other."""

    def __init__(self, path: Path, env: Env) -> None:
        self.path = path
        self.given = (env.scoring_key_primary, env.scoring_key_secondary)

    def of(self, service: str) -> tuple[Secret, Secret]:
        """Return a service's keys, and make those that are missing."""
        primary, secondary = self.given
        if primary and secondary:
            return primary, secondary
        made = self.read()
        if service not in made:
            made = self.renew(service)
        return primary or Secret(made[service][0]), secondary or Secret(made[service][1])

    def renew(self, service: str) -> dict[str, list[str]]:
        """Make new keys for a service; they hold from its next deployment on."""
        made = self.read() | {service: [secrets.token_urlsafe(KEY_BYTES) for _ in range(2)]}
        files.write(self.path, json.dumps(made).encode(), mode=0o600)
        return made

    def remove(self, service: str) -> None:
        """Forget a service's keys."""
        made = self.read()
        if made.pop(service, None):
            files.write(self.path, json.dumps(made).encode(), mode=0o600)

    def read(self) -> dict[str, list[str]]:
        """Read the keys that were made here."""
        try:
            return dict(json.loads(self.path.read_bytes()))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise ReleaseError(
                f"{self.path} is not whole: {error}\nRemove it: new keys are made, for the next deployment"
            ) from None
