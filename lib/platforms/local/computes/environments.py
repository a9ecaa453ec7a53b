"""Environments of trainings, built from config/conda_dependencies.yml and kept by their content."""

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from lib.errors import ReleaseError, SettingsError
from lib.files import digest
from lib.platforms.base import Plain, Tell
from lib.platforms.local.computes import building
from lib.platforms.local.computes.both_sides import Ended
from lib.platforms.local.computes.training import run_leased
from lib.settings import conda

BUILD_TIMEOUT_S = 3600.0


class Requirements(Plain, frozen=True):
    """What an environment consists of; `conda` is the whole file if it has more packages than Python and pip."""

    python: str
    pip: list[str]
    conda: str = ""

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


class Environment(Plain, frozen=True):
    """An environment that exists: the path and the version of its interpreter, and its digest."""

    interpreter: str
    python: str
    digest: str


def read(root: Path) -> Requirements:
    """Read the project's conda file. Raises SettingsError if it cannot be read, or Python is not pinned."""
    file = conda.read(root / conda.PATH)
    if not file.python:
        raise SettingsError(
            f"{conda.PATH}: python is not pinned\nWrite python=3.11, or another one, under dependencies"
        )
    if file.conda:
        return Requirements(python=file.python, pip=file.pip, conda=file.text)
    return Requirements(python=file.python, pip=_locked(root) or file.pip)


def _locked(root: Path) -> list[str]:
    """Return the packages with their dependencies as requirements.txt pins them; nothing if the two files disagree."""
    try:
        return conda.with_dependencies(
            conda.pins(root / conda.PATH), (root / "requirements.txt").read_text()
        ).splitlines()
    except ReleaseError:
        return []


def ready(root: Path, folder: Path, tell: Tell) -> Environment:
    """Return the environment of the project's conda file; build it if it does not exist. Raises ReleaseError."""
    requirements = read(root)
    place = folder / requirements.digest
    if not building.is_complete(place):
        log = folder / f"{requirements.digest}.log"
        arguments = [str(place), requirements.json]
        ended = run_leased(sys.executable, Path(building.__file__), arguments, root, log, BUILD_TIMEOUT_S, tell)
        check(requirements, ended, log)
    python = json.loads((place / building.MARKER).read_text())["python"]
    return Environment(interpreter=str(building.python_of(place)), python=python, digest=place.name)


def check(requirements: Requirements, ended: Ended, log: Path, where: str = "") -> None:
    """Raise ReleaseError if an environment could not be built."""
    if ended.late or ended.code:
        why = f"it took longer than {BUILD_TIMEOUT_S:g} s" if ended.late else ended.last
        raise ReleaseError(f"environment {requirements.digest} could not be built{where}: {why}\nThe log is {log}")
