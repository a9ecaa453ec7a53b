"""Build the environment of a training, whole or not at all, on the machine where this runs.

A script of the standard library alone, for Python 3.8 and later: it runs here, and is sent to a machine reached by SSH.
Its arguments are the environment's folder (or --check, which builds nothing) and a JSON of `python` (a version), `pip`
(lines of requirements) and `conda` (the whole file, where that needs more than Python and pip). It tells what it does,
and in its last line what failed.
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
# Lines of pip and uv that are not told: details of a package, and packages that are for other machines.
QUIET, LONGEST = (" ", "Ignoring "), 120
# Programs that their installers put where a shell that nobody logged in to does not look.
ALSO_IN = (str(Path(sys.executable).parent), "~/.local/bin", "~/.cargo/bin", "~/miniforge3/bin", "~/miniconda3/bin")
CONDAS = ("micromamba", "mamba", "conda")
DESCRIBE = """
import importlib.metadata, json, platform
packages = {one.metadata["Name"]: one.version for one in importlib.metadata.distributions()}
print(json.dumps({"python": platform.python_version(), "packages": dict(sorted(packages.items()))}, indent=2))
"""


def main(folder: Path, wanted: dict[str, Any]) -> None:
    """Build an environment, unless it is there: its marker, which is written last, says so."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with alone(folder.with_suffix(".lock")):
        if whole(folder):
            return
        print(f"builds environment {folder.name}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)  # what was interrupted
        try:
            (conda if wanted["conda"] else venv)(folder, wanted)
            described = output([str(python_of(folder)), "-c", DESCRIBE])
            if not described:
                raise SystemExit(f"{python_of(folder)} does not run")
            aside = folder / f"{MARKER}.aside"
            aside.write_text(described)
            aside.replace(folder / MARKER)
        except BaseException as error:
            full = shutil.disk_usage(folder.parent).free < FULL_BYTES  # of which not every program tells
            shutil.rmtree(folder, ignore_errors=True)
            if full:
                raise SystemExit(f"No space left on device in {folder.parent}: {error}") from None
            raise


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Build one environment once, also where two releases ask for it."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waits for another release that builds the same environment", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def whole(folder: Path) -> bool:
    """Tell whether an environment was built to its end, and still has the Python that it was made of."""
    return (folder / MARKER).is_file() and python_of(folder).exists()


def python_of(folder: Path) -> Path:
    """Return an environment's interpreter."""
    return folder / "bin" / "python"


def venv(folder: Path, wanted: dict[str, Any]) -> None:
    """Make a virtual environment, by uv where there is one, and install what is wanted."""
    python = find_python(wanted["python"])
    if python is None:
        raise SystemExit(missing_python(wanted["python"]))
    uv = find_program("uv")
    new = str(python_of(folder))
    if uv:
        run([uv, "venv", "--quiet", "--no-project", "--python", python, str(folder)])
        install = [uv, "pip", "install", "--python", new]
    else:
        run([python, "-m", "venv", str(folder)])
        install = [new, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    if wanted["pip"]:
        requirements = folder / "requirements.txt"
        requirements.write_text("".join(f"{line}\n" for line in wanted["pip"]))
        run([*install, "--requirement", str(requirements)])


def conda(folder: Path, wanted: dict[str, Any]) -> None:
    """Let conda, mamba or micromamba make the environment of the whole file."""
    program = find_conda()
    if program is None:
        raise SystemExit(MISSING_CONDA)
    file = folder.with_suffix(".yml")
    file.write_text(wanted["conda"])
    run([program, "env", "create", "--prefix", str(folder), "--file", str(file)])


MISSING_CONDA = (
    "config/conda_dependencies.yml needs conda packages, and neither conda, mamba nor micromamba is installed: "
    "install one, or leave only python and pip under dependencies"
)


def missing_python(version: str) -> str:
    """Say that a Python is not there, and how it comes there."""
    return (
        f"Python {version}, which config/conda_dependencies.yml names, is not there: "
        f"install it (`uv python install {version}`), or name another one"
    )


def find_python(version: str) -> str | None:
    """Return an interpreter of a version such as 3.11 or 3.11.7: this one, one that uv knows, or one of the PATH."""
    return next((one for one in pythons(version) if one and f"{version_of(one)}.".startswith(f"{version}.")), None)


def pythons(version: str) -> Iterator[str | None]:
    """Yield interpreters that may be of a version, the nearest first."""
    yield sys.executable
    if uv := find_program("uv"):
        yield output([uv, "python", "find", "--system", "--no-python-downloads", version]).strip()
    yield find_program(f"python{'.'.join(version.split('.')[:2])}")
    yield find_program("python3")


def version_of(python: str) -> str:
    """Return an interpreter's version, empty where it does not run."""
    return output([python, "-c", "import platform; print(platform.python_version())"]).strip()


def find_conda() -> str | None:
    """Return the first of the programs that make conda's environments."""
    return next((found for found in map(find_program, CONDAS) if found), None)


def find_program(name: str) -> str | None:
    """Return where a program is, also in the places where installers put it for one user."""
    places = [os.environ.get("PATH", ""), *(str(Path(place).expanduser()) for place in ALSO_IN)]
    return shutil.which(name, path=os.pathsep.join(places))


def output(command: list[str]) -> str:
    """Return what a program prints, empty where it fails."""
    with contextlib.suppress(OSError):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else ""
    return ""


def run(command: list[str]) -> None:
    """Run a program and tell its lines; where it fails, end with the last of them."""
    lines: list[str] = []
    with subprocess.Popen(
        command,
        env=own_environment(),
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
        raise SystemExit(f"{Path(command[0]).name} failed with exit code {process.returncode}: {' '.join(told(lines))}")


def told(lines: list[str]) -> list[str]:
    """Return what a program says of its failure: from its first error on, or else its last lines."""
    said = [line for line in lines if line]
    first = next((number for number, line in enumerate(said) if line.lower().startswith("error")), -SHOWN_LINES)
    return said[first:][:SHOWN_LINES]


def own_environment() -> dict[str, str]:
    """Return the environment for those programs: the user's own, in which nothing is asked."""
    chosen = ("UV_SYSTEM_CERTS", "UV_NO_PROGRESS", "CONDA_ALWAYS_YES", "MAMBA_ALWAYS_YES")
    return {**dict.fromkeys(chosen, "true"), **os.environ}


def check(wanted: dict[str, Any]) -> str:
    """Say what this machine lacks to build an environment; an empty string where it has everything."""
    if wanted["conda"]:
        return "" if find_conda() else MISSING_CONDA
    return "" if find_python(wanted["python"]) else missing_python(wanted["python"])


def describe(wanted: dict[str, Any]) -> str:
    """Say with what this machine builds an environment."""
    if wanted["conda"]:
        return str(find_conda())
    python, uv = find_python(wanted["python"]) or "", find_program("uv")
    return f"Python {version_of(python)} ({python}), {output([uv, '--version']).strip() if uv else 'venv and pip'}"


if __name__ == "__main__":
    place, what = sys.argv[1], json.loads(sys.argv[2])
    if place != "--check":
        main(Path(place), what)
    elif check(what):
        raise SystemExit(check(what))
    else:
        print(describe(what))
