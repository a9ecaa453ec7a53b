"""Look a project over before its first release, and say for each finding how it is put right. Nothing is changed."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from lib import platforms
from lib.errors import ReleaseError, SettingsError
from lib.forks.client import Forks
from lib.platforms.base import Finding
from lib.settings import conda, load
from lib.setup.machine import disk, packages, python, pythons, uv
from lib.setup.project import agreement, commit, environment_file, ignored, scripts


def check(root: Path) -> Iterator[Finding]:
    """Check everything that a release needs, the quickest and nearest first."""
    yield from python(root)
    yield from pins(root)
    yield uv()
    yield from environment_file(root)
    yield from ignored(root)
    yield commit(root)
    yield from scripts(root)
    yield disk(root)
    yield from settings(root)


def pins(root: Path) -> Iterator[Finding]:
    """Check what is installed here, and what an image will be made of."""
    missing = [name for name in ("requirements.txt", conda.PATH) if not (root / name).is_file()]
    yield from (Finding(what=name, fix=f"it is missing: git checkout {name}") for name in missing)
    if not missing:
        yield packages(root)
        yield agreement(root)
        with contextlib.suppress(SettingsError):  # which agreement() has told
            yield pythons(root)


def settings(root: Path) -> Iterator[Finding]:
    """Check the settings, and with them the platform."""
    try:
        loaded = load(root)
    except SettingsError as error:
        yield from (Finding(what="settings", fix=problem) for problem in str(error).splitlines())
        return
    yield Finding(what="settings of config/ and .env")
    with Forks(root, loaded.records / "interpreter.log") as forks:
        try:
            yield from platforms.connect(loaded, forks).check()
        except ReleaseError as error:
            yield Finding(what=f"platform {loaded.env.platform}", fix=str(error).replace("\n", ". "))
