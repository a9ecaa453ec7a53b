"""Checks of this machine: Python, the installed packages, uv, the disk."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tomllib
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
    """Check that the installed packages have the versions in requirements.txt, and that this tool's own are there.

    Others may be missing: a release on this machine needs neither the Azure SDK nor what the tests need.
    """
    from packaging.requirements import Requirement

    pins = [Requirement(line) for line in read_text(root / "requirements.txt").splitlines() if line[:1] not in " #"]
    project = tomllib.loads(read_text(root / "pyproject.toml"))["project"]
    own = {Requirement(line).name for line in project["dependencies"]}
    needed = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    versions = {pin: _version(pin.name) for pin in needed if pin.name != "pip"}  # any version can install the others
    wrong = [
        pin.name
        for pin, version in versions.items()
        if f"=={version}" != str(pin.specifier)
        if version or pin.name in own
    ]
    if wrong:
        more = f" and {len(wrong) - MOST_NAMES} more" if len(wrong) > MOST_NAMES else ""
        names = ", ".join(wrong[:MOST_NAMES]) + more
        return Finding(what="installed packages", fix=f"differs from requirements.txt: {names}: run `make env`")
    installed = sum(map(bool, versions.values()))
    return Finding(what=f"{installed} installed packages, in the versions of requirements.txt")


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


def _version(name: str) -> str:
    """Return the version of an installed package; empty if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
