"""`invoke doctor`: check everything that a release needs, and change nothing. Each problem comes with its fix."""

from collections.abc import Callable, Iterator
from pathlib import Path

from lib import platforms
from lib.environment.model import ModelEnvironment
from lib.errors import ReleaseError, SettingsError
from lib.forks.client import Forks
from lib.platforms.base import Finding
from lib.release import early
from lib.settings import conda, load
from lib.setup import unit
from lib.setup.machine import disk, packages, python, uv
from lib.setup.project import commit, dotenv, dotenv_ignored, locked_packages


def check(root: Path) -> Iterator[Finding]:
    """Run every check, the fastest first, and yield its finding."""
    yield from python(root)
    yield from _packages(root)
    yield uv()
    yield from dotenv(root)
    yield from dotenv_ignored(root)
    yield commit(root)
    yield from early.scripts(root)
    yield disk(root)
    yield from _settings(root)


def offer_unit(root: Path, ask: Callable[[str], bool]) -> Iterator[str]:
    """Offer to keep the services of this machine running, and yield lines for people; see lib.setup.unit."""
    settings = load(root)
    if settings.env.platform == "local":
        yield from unit.offer(root, settings, ask)


def _packages(root: Path) -> Iterator[Finding]:
    absent = [name for name in ("requirements.txt", conda.PATH) if not (root / name).is_file()]
    yield from (Finding(what=name, fix=f"it is missing: git checkout {name}") for name in absent)
    if not absent:
        yield packages(root)
        yield locked_packages(root)


def _ignore(_line: str) -> None:
    """Report nothing: doctor builds no environment."""


def _settings(root: Path) -> Iterator[Finding]:
    """Check the settings, then the platform that they choose."""
    try:
        settings = load(root)
    except SettingsError as error:
        yield from (Finding(what="settings", fix=problem) for problem in str(error).splitlines())
        return
    yield Finding(what="settings of config/ and .env")
    if settings.env.platform == "local":
        yield from unit.check(root, settings)
    environment = ModelEnvironment(root, settings.environments, _ignore)
    yield from early.settings(settings, environment.packages())
    with Forks(root, settings.records / "interpreter.log", environment, settings.private) as forks:
        try:
            yield from platforms.connect(settings, forks).check()
        except ReleaseError as error:
            yield Finding(what=f"platform {settings.env.platform}", fix=str(error).replace("\n", ". "))
