"""Environments come true: an interpreter that has what a conda specification pins.

This one, if it has all of it; else a virtual environment that uv makes, once for the same content. Conda is not used.
"""

import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

# What this brings is here, under the name azureml-sdk.
META = {"azureml-defaults"}
LIMIT_S = 900
lock = threading.Lock()


class BuildError(Exception):
    """The environment cannot be made; the message is the end of its log."""


def requirements(conda: dict[str, Any]) -> tuple[str, list[str]]:
    """Return the Python version and the packages of a conda specification."""
    python, packages = "", []
    for one in conda.get("dependencies") or []:
        if isinstance(one, dict):
            packages += one.get("pip", [])
        elif one.split("=")[0] == "python":
            python = one.strip("=").partition("=")[2].strip("=")
        else:
            name, _, version = one.partition("=")
            packages.append(f"{name}=={version.strip('=')}" if version else name)
    return python, [one for one in packages if Requirement(one).name.lower() != "pip"]


def lacking(python: str, packages: list[str]) -> list[str]:
    """Return what this interpreter has not got."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    missing = [] if not python or here == ".".join(python.split(".")[:2]) else [f"python {python}, this is {here}"]
    for one in packages:
        wanted = Requirement(one)
        if wanted.name.lower() in META:
            continue
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(f"{one}, not installed")
            continue
        if not wanted.specifier.contains(version, prereleases=True):
            missing.append(f"{one}, installed {version}")
    return missing


def interpreter(conda: dict[str, Any], folder: Path) -> tuple[str, list[str]]:
    """Return an interpreter and the log of how it was made. Raises BuildError."""
    try:
        python, packages = requirements(conda)
        missing = lacking(python, packages)
    except InvalidRequirement as error:
        raise BuildError(f"ERROR: Invalid requirement: {error}") from None
    log = [f"Solving environment: python={python or 'any'}", *(f"  {one}" for one in packages)]
    if not missing:
        return sys.executable, [*log, f"{sys.executable} has all of it"]
    digest = hashlib.sha256(json.dumps([python, sorted(packages)]).encode()).hexdigest()[:16]
    place = folder / "interpreters" / digest
    log += [f"{sys.executable} lacks {one}" for one in missing] + [f"Making {place}"]
    with lock:
        if not (place / "made").exists():
            # uv would look for this one on the PATH, where another program may have its name.
            is_this = python in ("", ".".join(map(str, sys.version_info[:2])))
            log += run("venv", "--clear", "--python", sys.executable if is_this else python, str(place))
            log += run("pip", "install", "--python", str(place / "bin" / "python"), *packages)
            (place / "made").touch()
    return str(place / "bin" / "python"), log


def run(*command: str) -> list[str]:
    """Run uv and return what it said. Raises BuildError."""
    environment = os.environ | {"NO_COLOR": "1", "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"}
    done = subprocess.run(
        [sys.executable, "-m", "uv", "--system-certs", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        env=environment,
        check=False,
    )
    if done.returncode:
        raise BuildError(f"{done.stdout.strip()}\nERROR: uv {command[0]} exited with code {done.returncode}")
    return done.stdout.splitlines()
