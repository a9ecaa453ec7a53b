"""The wheels of an image's packages, downloaded on this machine: no network is needed while the image is built."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

from lib.errors import ReleaseError
from lib.files import digest
from lib.image.assemble import REQUIREMENTS
from lib.settings import conda

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
NEWEST_GLIBC = 28
LIMIT_S = 1800.0


def download(bundle: Path, kept: Path, architecture: str) -> Path:
    """Return a folder with the wheels that a bundle's packages need on Linux; the same ones are downloaded once.

    Raises ReleaseError where one cannot be had.
    """
    named = conda.read(bundle / conda.NAME).python
    python = ".".join((named or platform.python_version()).split(".")[:2])
    wanted = "".join(f"{line}\n" for line in chosen((bundle / REQUIREMENTS).read_text(), python, architecture))
    folder = kept / digest(f"{python} {architecture}\n{wanted}".encode())[:16]
    if not folder.is_dir():
        aside = kept / ".aside"  # what an interrupted download left is in nobody's way
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        (aside / "requirements.txt").write_text(wanted)
        pip(aside, python, architecture)
        aside.rename(folder)
    return folder


def chosen(requirements: str, python: str, architecture: str) -> list[str]:
    """Return the requirements that hold for a Python on Linux, without their conditions."""
    from packaging.requirements import Requirement

    there = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_machine": MACHINES.get(architecture, architecture),
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    wanted = [Requirement(line) for line in requirements.splitlines()]
    return [f"{one.name}{one.specifier}" for one in wanted if one.marker is None or one.marker.evaluate(there)]


def pip(folder: Path, python: str, architecture: str) -> None:
    """Let pip download wheels into a folder, with whatever index it is set up for."""
    machine = MACHINES.get(architecture, architecture)
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(NEWEST_GLIBC, 4, -1)]
    platforms += [f"manylinux2014_{machine}", f"linux_{machine}"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
    command += [f"--platform={one}" for one in platforms]
    command += [f"--dest={folder}", f"--requirement={folder / 'requirements.txt'}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        raise ReleaseError(f"the image's packages were not downloaded within {LIMIT_S:g} s") from None
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise ReleaseError(
            f"the image's packages cannot be downloaded as wheels for Python {python}, {machine}:\n"
            f"{errors[-1] if errors else 'pip does not say why'}"
        )
