"""The wheels of an image's packages, downloaded on this machine: building the image then needs no network."""

import shutil
import subprocess
import sys
from pathlib import Path

from lib.environment import lock
from lib.errors import ReleaseError
from lib.files import digest
from lib.image.assemble import REQUIREMENTS

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
NEWEST_GLIBC = 28  # of Debian 10 and RHEL 8: wheels for later versions do not run on every base image
LIMIT_S = 1800.0


def download(bundle: Path, folder: Path, architecture: str) -> Path:
    """Return a folder below `folder` with the Linux wheels of a bundle's packages. Each set is downloaded once.

    Raises ReleaseError if pip cannot download one of them.
    """
    locked = lock.parse((bundle / REQUIREMENTS).read_text())
    python = ".".join(locked.python.split(".")[:2])
    lines = _for_linux(locked.packages, python, architecture)
    requirements = "".join(f"{line}\n" for line in [*locked.options, *lines])
    complete = folder / digest(f"{python} {architecture}\n{requirements}".encode())[:16]
    if not complete.is_dir():
        # Renamed when complete. The next download removes what an interrupted one left.
        aside = folder / ".aside"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        (aside / "requirements.txt").write_text(requirements)
        _pip_download(aside, python, architecture)
        aside.rename(complete)
    return complete


def _for_linux(requirements: list[str], python: str, architecture: str) -> list[str]:
    """Return the requirements that apply to a Python version on Linux, without their markers."""
    from packaging.requirements import Requirement

    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_machine": MACHINES.get(architecture, architecture),
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    parsed = [Requirement(line) for line in requirements]
    apply = [each for each in parsed if each.marker is None or each.marker.evaluate(environment)]
    return [f"{each.name}{each.specifier}" for each in apply]


def _pip_download(folder: Path, python: str, architecture: str) -> None:
    """Let pip download wheels into a folder, from the index that it is configured for."""
    machine = MACHINES.get(architecture, architecture)
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(NEWEST_GLIBC, 4, -1)]
    platforms += [f"manylinux2014_{machine}", f"linux_{machine}"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
    command += [f"--platform={name}" for name in platforms]
    command += [f"--dest={folder}", f"--requirement={folder / 'requirements.txt'}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        raise ReleaseError(f"the image's packages were not downloaded within {LIMIT_S:g} s") from None
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise ReleaseError(
            f"the image's packages cannot be downloaded as wheels for Python {python}, {machine}:\n"
            f"{errors[-1] if errors else 'pip gives no reason'}"
        )
