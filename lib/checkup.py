"""Look a project over before its first release, and say for each finding how it is put right."""

import importlib.metadata
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from lib import files, interpreter, platforms
from lib.errors import ReleaseError, SettingsError
from lib.image.assemble import ENVIRONMENT, pins, whole
from lib.platforms.base import Finding
from lib.settings import load

PYTHONS = ((3, 11), (3, 13))
PRIVATE = 0o600
FREE_BYTES = 500 << 20


def check(root: Path) -> Iterator[Finding]:
    """Make .env where it is missing, and check everything that a release needs. Safe to run again."""
    yield python()
    yield packages(root)
    yield environment_file(root)
    yield ignored(root)
    yield agreement(root)
    yield from project_files(root)
    try:
        settings = load(root)
    except SettingsError as error:
        yield from (Finding(what="settings", fix=problem) for problem in str(error).splitlines())
        return
    yield Finding(what="settings of config/ and .env")
    room = disk(root)
    yield room
    if room.fix:
        return
    with interpreter.opened(root, settings.records / "interpreter.log") as warmed:
        try:
            platform = platforms.connect(settings, warmed)
        except SettingsError as error:
            yield Finding(what="settings", fix=str(error).replace("\n", ": "))
            return
        yield from platform.check()


def python() -> Finding:
    """Check the interpreter's version."""
    version = ".".join(map(str, sys.version_info[:3]))
    oldest, newest = PYTHONS
    if oldest <= sys.version_info[:2] <= newest:
        return Finding(what=f"Python {version}")
    return Finding(what=f"Python {version}", fix="use Python 3.11, 3.12 or 3.13: make env PYTHON=python3.11")


def packages(root: Path) -> Finding:
    """Check that what is installed is what requirements.txt pins."""
    from packaging.requirements import Requirement

    wanted = [
        Requirement(line) for line in (root / "requirements.txt").read_text().splitlines() if line[:1] not in " #"
    ]
    wrong = [
        one.name
        for one in wanted
        if (one.marker is None or one.marker.evaluate()) and not installed(one.name, str(one.specifier))
    ]
    if wrong:
        return Finding(
            what="installed packages", fix=f"{', '.join(wrong[:5])} differ from requirements.txt: run `make env`"
        )
    return Finding(what=f"installed packages: {len(wanted)} pins of requirements.txt")


def installed(name: str, pinned: str) -> bool:
    """Tell whether a package is installed in the pinned version."""
    try:
        return importlib.metadata.version(name) == pinned.removeprefix("==")
    except importlib.metadata.PackageNotFoundError:
        return False


def environment_file(root: Path) -> Finding:
    """Make .env from .env.example, and check that only its owner can read it."""
    path = root / ".env"
    if not path.exists():
        files.write(path, (root / ".env.example").read_bytes(), mode=PRIVATE)
        return Finding(what=".env made from .env.example")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        return Finding(what=".env", fix="others on this machine can read it: chmod 600 .env")
    return Finding(what=".env, which only you can read")


def ignored(root: Path) -> Finding:
    """Check that git ignores .env."""
    inside = git(root, "rev-parse", "--is-inside-work-tree")
    if inside is None:
        return Finding(what="git (no repository here)")
    if git(root, "ls-files", "--error-unmatch", ".env") is not None:
        return Finding(what=".env", fix="it is in git: git rm --cached .env, and change what was secret in it")
    if git(root, "check-ignore", ".env") is None:
        return Finding(what=".env", fix="git does not ignore it: add the line .env to .gitignore")
    return Finding(what=".env is ignored by git")


def git(root: Path, *arguments: str) -> str | None:
    """Return what git prints, or None where it fails or is missing."""
    if not shutil.which("git"):
        return None
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def agreement(root: Path) -> Finding:
    """Check that the environment of model/ and service/ has the pins of requirements.txt."""
    try:
        chosen = pins(root / ENVIRONMENT)
        whole(chosen, (root / "requirements.txt").read_text())
    except ReleaseError as error:
        return Finding(what=ENVIRONMENT, fix=str(error).replace("\n", ": "))
    return Finding(what=f"{ENVIRONMENT} agrees with requirements.txt")


def project_files(root: Path) -> Iterator[Finding]:
    """Check that a model and a service are there."""
    for name, functions in (("model/train.py", ("predict", "score")), ("service/score.py", ("init", "run"))):
        path = root / name
        text = path.read_text() if path.exists() else ""
        missing = [function for function in functions if f"def {function}(" not in text]
        fix = f"it must define {' and '.join(missing)}: see CONTRIBUTING.md, Your own model" if missing else ""
        yield Finding(what=name, fix=fix)


def disk(root: Path) -> Finding:
    """Check that there is room, and that it may be written to."""
    free = shutil.disk_usage(root).free
    if not os.access(root, os.W_OK):
        return Finding(what="disk", fix=f"{root} cannot be written to: change its owner or rights")
    if free < FREE_BYTES:
        needed = f"{free >> 20} MB are free, {FREE_BYTES >> 20} MB needed"
        return Finding(what="disk", fix=f"{needed}: remove something, or `invoke destroy`")
    return Finding(what=f"disk: {free >> 30} GB free")
