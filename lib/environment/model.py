"""The model's environment on this machine: locked, built once for its content, and kept."""

import functools
import json
import sys
import threading
from pathlib import Path

from lib.environment import building, leased, lock
from lib.environment.lock import Lock, Tell
from lib.environment.pip_settings import uv_environment
from lib.errors import ReleaseError

LIMIT_S = 3600.0


class ModelEnvironment:
    """The environment that config/conda_dependencies.yml describes. Nothing is locked or built before it is needed.

    `folder` holds one environment for each content, so an earlier model finds its own again.
    """

    def __init__(self, root: Path, folder: Path, tell: Tell) -> None:
        self._root = root
        self._folder = folder
        self._tell = tell
        self._turn = threading.Lock()

    def of(self, locked: Lock) -> "ModelEnvironment":
        """Return the environment of another lock: that of an earlier model or image."""
        other = ModelEnvironment(self._root, self._folder, self._tell)
        other.lock = locked
        return other

    def has(self, locked: Lock) -> bool:
        """Return whether this is the environment of a lock. Resolves nothing: a conda file in error is no obstacle."""
        current = lock.read(self._root)
        return current is not None and current.digest == locked.digest

    @functools.cached_property
    def lock(self) -> Lock:
        """The locked packages. Raises ReleaseError if they cannot be installed together."""
        return lock.current(self._root, self._tell)

    def python_version(self) -> str:
        """Return the version of the environment's Python, built if it does not exist."""
        marker = Path(self.python()).parents[1] / building.MARKER
        return str(json.loads(marker.read_text())["python"])

    def python(self) -> str:
        """Return the path of the environment's Python, built if it does not exist. Raises ReleaseError."""
        with self._turn:  # steps may ask at the same time
            return self._python

    def packages(self) -> Path | None:
        """Return the folder of the environment's packages; None if it is not built. Builds and resolves nothing."""
        locked = lock.read(self._root)
        place = self._folder / locked.digest if locked else None
        if place is None or not building.is_complete(place):
            return None
        return next(iter(place.glob("lib/python*/site-packages")), None)

    @functools.cached_property
    def _python(self) -> str:
        return build(self.lock, self._folder, self._tell)


def build(locked: Lock, folder: Path, tell: Tell) -> str:
    """Build an environment unless it exists, and return the path of its Python.

    The build ends with this process. Raises ReleaseError with the reason and the log's name if it cannot be built.
    """
    place = folder / locked.digest
    if not building.is_complete(place):
        log = folder / f"{locked.digest}.log"
        wanted = json.dumps({"python": locked.python, "pip": [*locked.options, *locked.packages]})
        script, arguments = Path(building.__file__), [str(place), wanted]
        with leased.logged(log, tell) as report:
            ended = leased.run(sys.executable, script, arguments, None, uv_environment(), LIMIT_S, report)
        if ended.late or ended.code:
            why = f"it took longer than {LIMIT_S:g} s" if ended.late else ended.last
            raise ReleaseError(f"the model's environment could not be built: {why}\nThe log is {log}")
    return str(building.python_of(place))
