"""config/conda_dependencies.yml: the model's Python and packages. Only this module reads such files."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lib.errors import SettingsError
from lib.files import read_text

NAME = "conda_dependencies.yml"
PATH = f"config/{NAME}"
PYTHON = re.compile(r"(\d+\.\d+(\.\d+)?)(\.\*)?")
CONDA_SPEC = re.compile(r"(?:[\w.-]+::)?([\w.-]+?)(\[.*\])?(?:(=)([\w.*+!]+)|((?:==|>=|<=|!=|~=|<|>).+))?")
OPTIONS = ("--extra-index-url", "--index-url", "-i", "--find-links", "-f", "--no-index", "--pre", "--trusted-host")
# A password in an address. ${NAME} is allowed: it is replaced from the environment and never recorded.
PASSWORD = re.compile(r"https?://(?!\$\{)[^/@:\s]+@|://[^/@:\s]*:(?!\$\{)[^/@\s]+@")
# Packages with another name on PyPI, where a different project may have conda's name.
ON_PYPI = {
    "pytorch": "torch",
    "pytorch-cpu": "torch",
    "pytorch-gpu": "torch",
    "py-xgboost": "xgboost",
    "opencv": "opencv-python",
    "py-opencv": "opencv-python",
    "matplotlib-base": "matplotlib",
    "msgpack-python": "msgpack",
    "python-graphviz": "graphviz",
    "tensorflow-gpu": "tensorflow",
    "pytables": "tables",
    "dask-core": "dask",
}
# Programs and libraries that are not Python packages. PyPI has other things by some of these names.
NOT_PYTHON = re.compile(
    "_.*|blas|bzip2|ca-certificates|cmake|compilers|cuda|cudatoolkit|cudnn|cxx-compiler|expat|ffmpeg|gcc.*|git|gxx.*|icu"
    "|intel-openmp|ld_impl.*|lib(blas|cblas|ffi|gcc|gcc-ng|gfortran.*|gomp|lapack|openblas|sqlite|stdcxx.*|uuid|zlib)"
    "|llvm-openmp|make|mkl|ncurses|nodejs|openblas|openjdk|openmpi|openssl|r-.*|readline|sqlite|tk|tzdata|unixodbc|xz|zlib"
)


class CondaFile(NamedTuple):
    """What a conda file asks for.

    `python` is its version, "" if the file names none. `requirements` are lines for pip, conda's packages among them;
    `options` are pip's options, mostly addresses of indexes. `sources` are the files that were read. `notes` are for
    the owner.
    """

    python: str
    requirements: list[str]
    options: list[str]
    sources: list[Path]
    notes: list[str]


def read(path: Path) -> CondaFile:
    """Read a conda file and the files that it includes with -r.

    Raises SettingsError that lists every entry that cannot be used.
    """
    file, problems = CondaFile("", [], [], [path], []), list[str]()
    for item in _dependencies(path):
        if isinstance(item, dict):
            for line in item.get("pip") or []:
                _add_line(file, path, str(line).strip(), problems)
        else:
            file = _with_spec(file, str(item).strip(), problems)
    if problems:
        raise SettingsError("\n".join(f"{PATH}: {problem}" for problem in problems))
    return file


def _dependencies(path: Path) -> list[Any]:
    import yaml

    try:
        content = yaml.safe_load(read_text(path))
        dependencies = content["dependencies"]
        if not isinstance(dependencies, list):
            raise TypeError("dependencies must be a list")
    except FileNotFoundError:
        raise SettingsError(f"{PATH} is missing\nIt names the Python version and the packages of the model") from None
    except (yaml.YAMLError, LookupError, TypeError) as error:
        what = str(error).replace("\n", " ")
        raise SettingsError(f"{PATH} is not a conda file with a list of dependencies: {what}") from None
    return dependencies


def _with_spec(file: CondaFile, text: str, problems: list[str]) -> CondaFile:
    """Add an entry outside of `pip:`, which pip installs from PyPI."""
    spec = re.sub(r"\s*([=<>!~,]+)\s*", r"\1", text)
    if re.fullmatch(r"[^=<>!~]+=[^=<>!~]+=.+", spec):
        name, version, _ = spec.split("=", 2)
        problems.append(f"{text} names a build, which only one kind of machine has: write {name}={version}")
        return file
    match = CONDA_SPEC.fullmatch(spec)
    if match is None:
        problems.append(f"{text} is not NAME or NAME=VERSION")
        return file
    name, extras, single, version, condition = match.groups()
    if name == "python":
        return _with_python(file, text, version or (condition or "").removeprefix("=="), problems)
    if name in ("pip", "setuptools", "wheel"):
        return file  # every environment has what it needs to install packages
    if NOT_PYTHON.fullmatch(name):
        problems.append(f"{text} is not a Python package: install it on the machine, or in the base image")
    elif name in ON_PYPI:
        problems.append(f"{text} is called {ON_PYPI[name]} on PyPI: write {ON_PYPI[name]}{spec[len(name) :]}")
    else:
        pinned = f"=={version.removesuffix('.*')}.*" if single else condition or ""
        requirement = f"{name}{extras or ''}{pinned}"
        file.requirements.append(requirement)
        file.notes.append(f"{PATH}: {text} is installed from PyPI, as {requirement}")
    return file


def _with_python(file: CondaFile, text: str, version: str, problems: list[str]) -> CondaFile:
    if not version:
        return file
    match = PYTHON.fullmatch(version)
    if match is None:
        problems.append(f"{text} does not name one version: write python=3.11")
        return file
    return file._replace(python=match[1])


def _add_line(file: CondaFile, path: Path, line: str, problems: list[str]) -> None:
    """Add a line of the pip section, or of a requirements file."""
    option, _, value = line.partition(" ") if " " in line else line.partition("=")
    if PASSWORD.search(line):
        shown = PASSWORD.sub("://...@", line)
        problems.append(f"{shown} has a password in it: write ${{NAME}} instead, and set NAME in the environment")
    elif option in ("-r", "--requirement"):
        _include(file, path, value.strip(), problems)
    elif option in ("-e", "--editable", "-c", "--constraint"):
        problems.append(f"{line}: {option} cannot be used here: name the package itself, or its git+https address")
    elif option in OPTIONS:
        file.options.append(line)
    elif line.startswith("-"):
        problems.append(f"{line}: unknown option; known are -r, {', '.join(OPTIONS)}")
    elif problem := _problem(line):
        problems.append(problem)
    else:
        file.requirements.append(line)


def _include(file: CondaFile, path: Path, name: str, problems: list[str]) -> None:
    """Add the lines of a requirements file, named from the project's root or from the including file's folder."""
    places = [place for place in (path.parents[1] / name, path.parent / name) if place.is_file()]
    if not places:
        problems.append(f"-r {name}: there is no such file in the project")
    elif places[0] not in file.sources:
        file.sources.append(places[0])
        for line in _lines(places[0].read_text()):
            _add_line(file, places[0], line, problems)


def _lines(text: str) -> Iterator[str]:
    """Yield the lines of a requirements file without comments."""
    for line in text.replace("\\\n", " ").splitlines():
        content = re.sub(r"(^|\s)#.*$", "", line).strip()
        if content:
            yield content


def _problem(line: str) -> str:
    """Return what is wrong with a requirement; "" if pip can read it."""
    from packaging.requirements import InvalidRequirement, Requirement

    if re.match(r"(git\+|https?:|file:|\.{0,2}/)", line):
        return ""  # an address: pip itself finds out what is there
    try:
        Requirement(line)
    except InvalidRequirement:
        return f"{line} is not a requirement of pip: write NAME==VERSION"
    return ""
