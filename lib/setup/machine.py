"""Checks of this machine: Python, the installed packages, uv, the disk."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from lib.files import read_text
from lib.platforms.base import Finding

PYTHONS = ((3, 11), (3, 13))
FREE_BYTES = 500 << 20
MOST_NAMES = 5


def python(root: Path) -> Iterator[Finding]:
    """Check the version of Python, and that it is the project's own."""
    version = ".".join(map(str, sys.version_info[:3]))
    oldest, newest = PYTHONS
    if oldest <= sys.version_info[:2] <= newest:
        yield Finding(what=f"Python {version}")
    else:
        yield Finding(what=f"Python {version}", fix="use Python 3.11, 3.12 or 3.13: make env PYTHON=python3.11")
    if Path(sys.prefix).resolve() == (root / ".venv").resolve():
        yield Finding(what="environment .venv")
    else:
        yield Finding(what=f"environment {sys.prefix}", hint="not the project's: `make env` creates that in .venv")


def packages(root: Path) -> Finding:
    """Check that the installed packages have the versions in requirements.txt."""
    from packaging.requirements import Requirement

    pins = [Requirement(line) for line in read_text(root / "requirements.txt").splitlines() if line[:1] not in " #"]
    needed = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    wrong = [pin.name for pin in needed if not _is_installed(pin.name, str(pin.specifier))]
    if wrong:
        more = f" and {len(wrong) - MOST_NAMES} more" if len(wrong) > MOST_NAMES else ""
        names = ", ".join(wrong[:MOST_NAMES]) + more
        return Finding(what="installed packages", fix=f"differs from requirements.txt: {names}: run `make env`")
    return Finding(what=f"installed packages: {len(pins)} pins of requirements.txt")


def uv() -> Finding:
    """Check that uv starts: it builds environments and resolves pins."""
    program = Path(sys.executable).with_name("uv")
    try:
        process = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return Finding(what="uv", fix=f"{program} does not start ({type(error).__name__}): run `make env`")
    return Finding(what=" ".join(process.stdout.split()[:2]))


def disk(root: Path) -> Finding:
    """Check that the disk has space, and that the project's folder is writable."""
    free = shutil.disk_usage(root).free
    if not os.access(root, os.W_OK):
        return Finding(what="disk", fix=f"{root} is not writable: change its owner or permissions")
    if free < FREE_BYTES:
        numbers = f"{free >> 20} MB are free, a release needs {FREE_BYTES >> 20} MB"
        return Finding(what="disk", fix=f"{numbers}: delete files, or run `invoke destroy`")
    return Finding(what=f"disk: {free >> 30} GB free")


def _is_installed(name: str, pin: str) -> bool:
    try:
        return importlib.metadata.version(name) == pin.removeprefix("==")
    except importlib.metadata.PackageNotFoundError:
        return False
