"""The model's environment as another machine builds it: its Python and its packages, without the scoring server's."""

from pathlib import Path
from typing import Any

import msgspec

from lib.environment import lock
from lib.environment.leased import Ended
from lib.errors import ReleaseError
from lib.files import digest
from lib.platforms.base import Plain, Tell

BUILD_TIMEOUT_S = 3600.0


class Requirements(Plain, frozen=True):
    """What an environment consists of."""

    python: str
    pip: list[str]

    @property
    def digest(self) -> str:
        """Return the environment's name, which depends on its content alone."""
        return digest(msgspec.json.encode(self))[:12]

    @property
    def plain(self) -> dict[str, Any]:
        """Return the form that the functions of building.py take."""
        return msgspec.structs.asdict(self)

    @property
    def json(self) -> str:
        """Return the form that building.py takes as its argument."""
        return msgspec.json.encode(self).decode()


def read(root: Path, tell: Tell = lambda _line: None) -> Requirements:
    """Read the model's environment from its lock. Raises ReleaseError if its packages cannot be installed together."""
    locked = lock.current(root, tell)
    return Requirements(python=locked.python, pip=[*locked.options, *locked.model])


def check(requirements: Requirements, ended: Ended, log: Path, where: str) -> None:
    """Raise ReleaseError if an environment could not be built."""
    if ended.late or ended.code:
        why = f"it took longer than {BUILD_TIMEOUT_S:g} s" if ended.late else ended.last
        raise ReleaseError(f"environment {requirements.digest} could not be built{where}: {why}\nThe log is {log}")
