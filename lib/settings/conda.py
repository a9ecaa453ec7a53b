"""config/conda_dependencies.yml: the environment of model/ and service/. Only this module reads such files."""

import contextlib
import re
from pathlib import Path
from typing import Any, NamedTuple

from lib.errors import ReleaseError, SettingsError
from lib.files import read_text

NAME = "conda_dependencies.yml"
PATH = f"config/{NAME}"
PYTHON = re.compile(r"python={1,2}(\d+\.\d+(\.\d+)?)(\.\*)?")
CONDA_PIN = re.compile("[^=<>!~]=[^=]")  # a single equals sign, which only conda understands


class CondaFile(NamedTuple):
    """The content of a conda file: the version of Python ("" if not pinned), conda's packages, pip's requirements."""

    text: str
    python: str
    conda: list[str]
    pip: list[str]


def read(path: Path) -> CondaFile:
    """Read a conda file. Raises SettingsError if it has no valid dependencies."""
    import yaml

    text = read_text(path)
    try:
        dependencies: list[Any] = yaml.safe_load(text)["dependencies"]
        specs = [item.replace(" ", "") for item in dependencies if not isinstance(item, dict)]
        pip = [str(line) for item in dependencies if isinstance(item, dict) for line in item["pip"] or []]
    except (yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        raise SettingsError(f"{PATH} is not a conda file with dependencies: {error!r}".replace("\n", " ")) from None
    names = [re.split("[=<>!~]", spec)[0] for spec in specs]
    versions = [match[1] for spec in specs if (match := PYTHON.fullmatch(spec))]
    conda = [spec for spec, name in zip(specs, names, strict=True) if name not in ("python", "pip")]
    return CondaFile(text, versions[0] if versions else "", conda, pip)


def pins(path: Path) -> dict[str, str]:
    """Return the version of each package that pip installs. Raises ReleaseError if one is not pinned with ==."""
    from packaging.utils import canonicalize_name

    file = read(path)
    requirements = [*file.pip, *(spec for spec in file.conda if not CONDA_PIN.search(spec))]
    return {canonicalize_name(name): version for name, version in map(_pin, requirements)}


def with_dependencies(packages: dict[str, str], locked: str) -> str:
    """Return the lines of requirements.txt for some packages and everything they need.

    `packages` maps names to versions; `locked` is the text of requirements.txt, whose `# via` comments name the
    packages that need each line. Raises ReleaseError if the two do not have the same version of a package.
    """
    lines: dict[str, str] = {}
    needed_by: dict[str, set[str]] = {}
    for line in locked.splitlines():
        if line and line[0] not in " #":
            name = re.split(r"[=\[ ]", line)[0].lower()
            lines[name] = (
                lines.get(name, "") + f"{line}\n"
            )  # a package has one line per version of Python, if they differ
            needed_by.setdefault(name, set())
        elif comment := re.fullmatch(r"\s+#\s+(?:via\s*)?(\S*)", line):
            needed_by[name].add(comment[1].lower())
    for package, version in packages.items():
        if not lines.get(package, "").startswith(f"{package}=={version}"):
            other = lines.get(package, "does not have it").strip()
            raise ReleaseError(f"{PATH} pins {package}=={version}, requirements.txt {other}\nMake them agree")
    result: set[str] = set()
    more = set(packages)
    while more:
        result |= more
        more = {name for name, users in needed_by.items() if users & result} - result
    return "".join(lines[name] for name in sorted(result))


def _pin(line: str) -> tuple[str, str]:
    from packaging.requirements import InvalidRequirement, Requirement

    name = "NAME"
    with contextlib.suppress(InvalidRequirement):
        requirement = Requirement(line)
        name, specifiers = requirement.name, list(requirement.specifier)
        if [specifier.operator for specifier in specifiers] == ["=="] and not specifiers[0].version.endswith("*"):
            return name, specifiers[0].version
    raise ReleaseError(f"{PATH}: {line} is not pinned\nWrite {name}==VERSION, the version in requirements.txt")
