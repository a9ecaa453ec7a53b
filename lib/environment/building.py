"""Build the environment of a training completely or not at all, on this machine or, sent over SSH, on another one.

A script of the standard library alone, for Python 3.8 and later. Its arguments are the environment's folder (or
--check, which builds nothing) and a JSON object of `python` (a version) and `pip` (lines of requirements). It prints
what it does, and in its last line what failed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MARKER = "environment.json"
FULL_BYTES = 1 << 20
SHOWN_LINES = 3
# Lines of pip and uv that are not printed: details of a package, and packages for other systems.
QUIET, LONGEST = (" ", "Ignoring ", "Using Python", "Resolved ", "Prepared ", "Bytecode compiled "), 120
# Install locations that are not on the PATH of a non-login shell.
ALSO_IN = (str(Path(sys.executable).parent), "~/.local/bin", "~/.cargo/bin")
DESCRIBE = """
import importlib.metadata, json, platform
packages = {package.metadata["Name"]: package.version for package in importlib.metadata.distributions()}
print(json.dumps({"python": platform.python_version(), "packages": dict(sorted(packages.items()))}, indent=2))
"""


def main(folder: Path, requirements: dict[str, Any]) -> None:
    """Build an environment unless it exists. Its marker is written last: with a marker it is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.with_suffix(".lock")):
        if is_complete(folder):
            return
        print(f"builds environment {folder.name}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)  # of an interrupted build
        try:
            _venv(folder, requirements)
            description = _output([str(python_of(folder)), "-c", DESCRIBE])
            if not description:
                raise SystemExit(f"{python_of(folder)} does not run")
            aside = folder / f"{MARKER}.aside"
            aside.write_text(description)
            aside.replace(folder / MARKER)
        except BaseException as error:
            full = shutil.disk_usage(folder.parent).free < FULL_BYTES  # not every program reports this
            shutil.rmtree(folder, ignore_errors=True)
            if full:
                raise SystemExit(f"No space left on device in {folder.parent}: {error}") from None
            raise


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the environment's lock, so that two releases do not build it at the same time."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waits for another release that builds the same environment", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            raise SystemExit(f"{error.strerror}: {path}: environments need a file system with locks") from None
        yield


def is_complete(folder: Path) -> bool:
    """Return whether an environment was built to the end, and the Python that it links to still exists."""
    return (folder / MARKER).is_file() and python_of(folder).exists()


def python_of(folder: Path) -> Path:
    """Return an environment's interpreter."""
    return folder / "bin" / "python"


def _venv(folder: Path, requirements: dict[str, Any]) -> None:
    """Create a virtual environment and install the requirements, with uv if it is installed."""
    python = _find_python(requirements["python"])
    if python is None:
        raise SystemExit(_missing_python(requirements["python"]))
    uv = _find_program("uv")
    new = str(python_of(folder))
    if uv:
        _run([uv, "venv", "--quiet", "--no-project", "--python", python, str(folder)])
        install = [uv, "pip", "install", "--compile-bytecode", "--python", new]
    else:
        _run([python, "-m", "venv", str(folder)])
        install = [new, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    if requirements["pip"]:
        file = folder / "requirements.txt"
        file.write_text("".join(f"{line}\n" for line in requirements["pip"]))
        _run([*install, "--requirement", str(file)])


def _missing_python(version: str) -> str:
    return (
        f"Python {version}, which config/conda_dependencies.yml names, is not installed: "
        f"install it (`uv python install {version}`), or name another one"
    )


def _find_python(version: str) -> str | None:
    """Return an interpreter of a version such as 3.11 or 3.11.7: this one, one that uv knows, or one of the PATH."""
    return next(
        (path for path in _pythons(version) if path and f"{_version_of(path)}.".startswith(f"{version}.")), None
    )


def _pythons(version: str) -> Iterator[str | None]:
    """Yield interpreters that may have the version, the quickest to find first."""
    yield sys.executable
    if uv := _find_program("uv"):
        yield _output([uv, "python", "find", "--system", "--no-python-downloads", version]).strip()
    yield _find_program(f"python{'.'.join(version.split('.')[:2])}")
    yield _find_program("python3")


def _version_of(python: str) -> str:
    """Return an interpreter's version; an empty string if it does not run."""
    return _output([python, "-c", "import platform; print(platform.python_version())"]).strip()


def _find_program(name: str) -> str | None:
    """Return the path of a program on the PATH or in ALSO_IN."""
    places = [os.environ.get("PATH", ""), *(str(Path(place).expanduser()) for place in ALSO_IN)]
    return shutil.which(name, path=os.pathsep.join(places))


def _output(command: list[str]) -> str:
    """Return what a program prints; an empty string if it fails."""
    with contextlib.suppress(OSError):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else ""
    return ""


def _run(command: list[str]) -> None:
    """Run a program and print its lines; if it fails, exit with the lines that say why."""
    lines: list[str] = []
    with subprocess.Popen(
        command,
        env=_own_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or []:
            lines.append(line.strip())
            if not line.startswith(QUIET):
                print(line.partition(" (from ")[0].rstrip()[:LONGEST], flush=True)
    if process.returncode:
        raise SystemExit(
            f"{Path(command[0]).name} failed with exit code {process.returncode}: {' '.join(_error_lines(lines))}"
        )


def _error_lines(lines: list[str]) -> list[str]:
    """Return the lines from the first error on, or the last lines if none begins with "error"."""
    lines = [line for line in lines if line]
    first = next((number for number, line in enumerate(lines) if line.lower().startswith("error")), -SHOWN_LINES)
    return lines[first:][:SHOWN_LINES]


def _own_environment() -> dict[str, str]:
    """Return the environment of those programs: the user's, with defaults that avoid questions."""
    defaults = ("UV_SYSTEM_CERTS", "UV_NO_PROGRESS")
    return {**dict.fromkeys(defaults, "true"), **os.environ}


def check(requirements: dict[str, Any]) -> str:
    """Return what this machine lacks to build an environment; an empty string if it lacks nothing."""
    return "" if _find_python(requirements["python"]) else _missing_python(requirements["python"])


def describe(requirements: dict[str, Any]) -> str:
    """Return which programs build an environment on this machine."""
    python, uv = _find_python(requirements["python"]) or "", _find_program("uv")
    return f"Python {_version_of(python)} ({python}), {_output([uv, '--version']).strip() if uv else 'venv and pip'}"


if __name__ == "__main__":
    place, requested = sys.argv[1], json.loads(sys.argv[2])
    if place != "--check":
        main(Path(place), requested)
    elif check(requested):
        raise SystemExit(check(requested))
    else:
        print(describe(requested))
