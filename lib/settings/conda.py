"""The environment of model/ and service/, config/conda_dependencies.yml: the one place where it is read."""

import contextlib
import re
from pathlib import Path
from typing import Any, NamedTuple

from lib.errors import ReleaseError, SettingsError

ENVIRONMENT = "config/conda_dependencies.yml"
PYTHON = re.compile(r"python={1,2}(\d+\.\d+(\.\d+)?)(\.\*)?")
OF_CONDA = re.compile("[^=<>!~]=[^=]")  # how only conda writes a version


class CondaFile(NamedTuple):
    """What it wants: a version of Python, empty where none is pinned, packages of conda, and requirements of pip."""

    text: str
    python: str
    conda: list[str]
    pip: list[str]


def read(path: Path) -> CondaFile:
    """Read a conda file. Raises SettingsError where it is none."""
    import yaml

    text = path.read_text()
    try:
        dependencies: list[Any] = yaml.safe_load(text)["dependencies"]
        named = [one.replace(" ", "") for one in dependencies if not isinstance(one, dict)]
        pip = [str(line) for one in dependencies if isinstance(one, dict) for line in one["pip"] or []]
    except (yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        raise SettingsError(f"{ENVIRONMENT} is no conda file with dependencies: {error!r}".replace("\n", " ")) from None
    names = [re.split("[=<>!~]", one)[0] for one in named]
    versions = [found[1] for one in named if (found := PYTHON.fullmatch(one))]
    conda = [one for one, name in zip(named, names, strict=True) if name not in ("python", "pip")]
    return CondaFile(text, versions[0] if versions else "", conda, pip)


def pins(path: Path) -> dict[str, str]:
    """Return the version of each package that pip installs. Raises ReleaseError where one has not a single version."""
    from packaging.utils import canonicalize_name

    file = read(path)
    of_pip = [*file.pip, *(one for one in file.conda if not OF_CONDA.search(one))]
    return {canonicalize_name(name): version for name, version in map(pin, of_pip)}


def pin(line: str) -> tuple[str, str]:
    """Return the package and the version of a requirement. Raises ReleaseError where it is not pinned."""
    from packaging.requirements import InvalidRequirement, Requirement

    name = "NAME"
    with contextlib.suppress(InvalidRequirement):
        wanted = Requirement(line)
        name, chosen = wanted.name, list(wanted.specifier)
        if [one.operator for one in chosen] == ["=="] and not chosen[0].version.endswith("*"):
            return name, chosen[0].version
    raise ReleaseError(f"{ENVIRONMENT}: {line} is not pinned\nWrite {name}==VERSION, the version in requirements.txt")


def with_dependencies(packages: dict[str, str], locked: str) -> str:
    """Return the locked lines of some packages and of all that they need, by the lock's own `# via` comments."""
    lines: dict[str, str] = {}
    needed_by: dict[str, set[str]] = {}
    for line in locked.splitlines():
        if line and line[0] not in " #":
            name = re.split(r"[=\[ ]", line)[0].lower()
            lines[name] = lines.get(name, "") + f"{line}\n"  # there may be one for each version of Python
            needed_by.setdefault(name, set())
        elif comment := re.fullmatch(r"\s+#\s+(?:via\s*)?(\S*)", line):
            needed_by[name].add(comment[1].lower())
    for package, version in packages.items():
        if not lines.get(package, "").startswith(f"{package}=={version}"):
            raise ReleaseError(
                f"{ENVIRONMENT} pins {package}=={version}, "
                f"requirements.txt {lines.get(package, 'does not have it').strip()}\nMake them agree"
            )
    chosen: set[str] = set()
    more = set(packages)
    while more:
        chosen |= more
        more = {name for name, users in needed_by.items() if users & chosen} - chosen
    return "".join(lines[name] for name in sorted(chosen))
