"""Look at what a release runs with: Python, the installed packages, the disk."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from lib.platforms.base import Finding
from lib.settings import conda

PYTHONS = ((3, 11), (3, 13))
FREE_BYTES = 500 << 20


def python(root: Path) -> Iterator[Finding]:
    """Check the interpreter's version, and that it is the project's own."""
    version = ".".join(map(str, sys.version_info[:3]))
    oldest, newest = PYTHONS
    if oldest <= sys.version_info[:2] <= newest:
        yield Finding(what=f"Python {version}")
    else:
        yield Finding(what=f"Python {version}", fix="use Python 3.11, 3.12 or 3.13: make env PYTHON=python3.11")
    if Path(sys.prefix).resolve() == (root / ".venv").resolve():
        yield Finding(what="environment .venv")
    else:
        yield Finding(what=f"environment {sys.prefix}", hint="it is not the project's: `make env` makes one in .venv")


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


def uv() -> Finding:
    """Check that uv, which installs environments and resolves pins, starts."""
    program = Path(sys.executable).with_name("uv")
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return Finding(what="uv", fix=f"{program} does not start ({type(error).__name__}): run `make env`")
    return Finding(what=" ".join(done.stdout.split()[:2]))


def pythons(root: Path) -> Finding:
    """Compare this Python with the one that an image or another machine loads the model with."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    said = ".".join(conda.read(root / conda.PATH).python.split(".")[:2])
    if said in ("", here):
        return Finding(what=f"Python {here} here and in {conda.PATH}")
    hint = f"it says {said}, this is {here}: another machine would load the model with another Python than trained it"
    return Finding(what=conda.PATH, hint=hint)


def disk(root: Path) -> Finding:
    """Check that there is room, and that it may be written to."""
    free = shutil.disk_usage(root).free
    if not os.access(root, os.W_OK):
        return Finding(what="disk", fix=f"{root} cannot be written to: change its owner or rights")
    if free < FREE_BYTES:
        needed = f"{free >> 20} MB are free, {FREE_BYTES >> 20} MB needed"
        return Finding(what="disk", fix=f"{needed}: remove something, or `invoke destroy`")
    return Finding(what=f"disk: {free >> 30} GB free")
