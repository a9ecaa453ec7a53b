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


class Wanted(Plain, frozen=True):
    """What an environment is made of; `conda` is the whole file where it needs more than Python and pip."""

    python: str
    pip: list[str]
    conda: str = ""

    @property
    def digest(self) -> str:
        """Name it by its content."""
        return digest(msgspec.json.encode(self))[:12]

    @property
    def plain(self) -> dict[str, Any]:
        """Give it to functions of building.py."""
        return msgspec.structs.asdict(self)

    @property
    def json(self) -> str:
        """Give it to building.py as its argument."""
        return msgspec.json.encode(self).decode()


class Built(Plain, frozen=True):
    """An environment that is there: its interpreter, that one's version, and its digest."""

    interpreter: str
    python: str
    digest: str


def read(root: Path) -> Wanted:
    """Read what the project's conda file wants. Raises SettingsError where it is none, or Python is not pinned."""
    file = conda.read(root / conda.PATH)
    if not file.python:
        raise SettingsError(
            f"{conda.PATH}: python is not pinned\nWrite python=3.11, or another one, under dependencies"
        )
    if file.conda:
        return Wanted(python=file.python, pip=file.pip, conda=file.text)
    return Wanted(python=file.python, pip=locked(root) or file.pip)


def locked(root: Path) -> list[str]:
    """Return what is wanted with all that it needs as requirements.txt pins it; nothing where the two do not agree."""
    try:
        return conda.with_dependencies(
            conda.pins(root / conda.PATH), (root / "requirements.txt").read_text()
        ).splitlines()
    except ReleaseError:
        return []


def ready(root: Path, folder: Path, tell: Tell) -> Built:
    """Return the environment of the project's conda file, built where it is not there. Raises ReleaseError."""
    wanted = read(root)
    place = folder / wanted.digest
    if not building.whole(place):
        log = folder / f"{wanted.digest}.log"
        arguments = [str(place), wanted.json]
        ended = run_leased(sys.executable, Path(building.__file__), arguments, root, log, BUILD_TIMEOUT_S, tell)
        check(wanted, ended, log)
    python = json.loads((place / building.MARKER).read_text())["python"]
    return Built(interpreter=str(building.python_of(place)), python=python, digest=place.name)


def check(wanted: Wanted, ended: Ended, log: Path, where: str = "") -> None:
    """Raise ReleaseError if an environment could not be built."""
    if ended.late or ended.code:
        why = f"it took longer than {BUILD_TIMEOUT_S:g} s" if ended.late else ended.last
        raise ReleaseError(f"environment {wanted.digest} could not be built{where}: {why}\nThe log is {log}")
