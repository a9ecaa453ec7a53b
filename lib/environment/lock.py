"""config/conda_dependencies.lock: every package of the model's environment with its version.

uv resolves it from config/conda_dependencies.yml together with the scoring server's own packages, so that a conflict
between the two is reported before anything is trained. It is committed: every machine then installs the same versions.
"""

import contextlib
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from lib import files
from lib.environment import building
from lib.environment.pip_settings import uv_environment
from lib.errors import ReleaseError, SettingsError
from lib.settings import conda

PATH = "config/conda_dependencies.lock"
SERVER = Path(__file__).parents[1] / "image" / "server.txt"
# Without a named version the packages are resolved for every Python that this tool runs with.
ANY_PYTHON, OLDEST_PYTHON = "any", "3.11"
SERVER_LINE = "# The scoring server's own packages"
HEADER = """\
# Every package of the model's environment, resolved from conda_dependencies.yml. Commit this file.
# Each task writes it again if one of these files has changed:
"""
LIMIT_S = 600.0
NO_NETWORK = re.compile("dns error|error sending request|Connection refused|Network is unreachable", re.IGNORECASE)

Tell = Callable[[str], None]


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """A locked environment: the model's packages, the server's own, and options of pip.

    `named_python` is the version that the conda file names, "" if it names none.
    """

    named_python: str
    model: list[str]
    server: list[str]
    options: list[str]

    @property
    def packages(self) -> list[str]:
        """All packages, sorted by name."""
        return sorted([*self.model, *self.server])

    @property
    def python(self) -> str:
        """The version of Python: the named one, or this tool's."""
        return self.named_python or sysconfig.get_python_version()

    @property
    def text(self) -> str:
        """The packages as requirements for pip, with its options, as the lock and every image have them."""
        python = f"# Python {self.named_python or ANY_PYTHON}"
        lines = [python, "", *self.options, *self.model, "", SERVER_LINE, *self.server]
        return "\n".join(lines) + "\n"

    @property
    def digest(self) -> str:
        """The name of an environment with these packages."""
        return files.digest("\n".join([self.python, *self.packages]).encode())[:12]

    @property
    def model_digest(self) -> str:
        """What a training depends on: the server's packages are not part of it."""
        return files.digest("\n".join([self.python, *self.model]).encode())


def current(root: Path, tell: Tell) -> Lock:
    """Return the lock of the conda file as it is now, resolved again if it has changed.

    Raises SettingsError if the conda file cannot be used, ReleaseError if its packages cannot be installed together.
    """
    lock = read(root)
    if lock is None:
        lock = _resolve(root, tell)
    return lock


def read(root: Path) -> Lock | None:
    """Return the lock if it exists and belongs to the files of today; else None."""
    path = root / PATH
    if not path.is_file():
        return None
    text = path.read_text()
    sources = re.findall(r"^# ([0-9a-f]{12})  (\S+)$", text, re.MULTILINE)
    known = {name: digest for digest, name in sources}
    if not {conda.PATH, "server.txt"} <= known.keys() or any(
        _short_digest(SERVER if name == "server.txt" else root / name) != digest for name, digest in known.items()
    ):
        return None
    return parse(text)


def python_minor(root: Path, locked: Lock | None) -> str:
    """Return the version of the model's Python, such as 3.11: the lock's, or the conda file's if `read` gave none."""
    version = locked.python if locked else ""
    if locked is None:
        with contextlib.suppress(SettingsError):  # reported by whatever needs the packages
            version = conda.read(root / conda.PATH).python
    return ".".join((version or sysconfig.get_python_version()).split(".")[:2])


def parse(text: str) -> Lock:
    """Read the text of a lock, or the requirements of an image."""
    head, _, server = text.partition(f"{SERVER_LINE}\n")
    python = re.search(r"^# Python (\S+)$", head, re.MULTILINE)
    lines = [line for line in head.splitlines() if line and not line.startswith("#")]
    return Lock(
        named_python=python[1] if python and python[1] != ANY_PYTHON else "",
        model=[line for line in lines if not line.startswith("-")],
        server=[line for line in server.splitlines() if line],
        options=[line for line in lines if line.startswith("-")],
    )


def _resolve(root: Path, tell: Tell) -> Lock:
    """Let uv choose versions, keeping those of the lock that is there, and write the lock."""
    file = conda.read(root / conda.PATH)
    if file.python and (missing := building.check({"python": file.python})):
        raise ReleaseError(missing)
    python = file.python or OLDEST_PYTHON
    for note in [*file.notes, *([] if file.python else [_no_python()])]:
        tell(note)
    both = _compile([*file.options, *file.requirements, *SERVER.read_text().splitlines()], python, _locked(root))
    model_names = set(map(_name, _compile([*file.options, *file.requirements], python, both)))
    lock = Lock(
        named_python=file.python,
        model=[line for line in both if _name(line) in model_names],
        server=[line for line in both if _name(line) not in model_names],
        options=file.options,
    )
    sources = {source.relative_to(root).as_posix(): source for source in file.sources} | {"server.txt": SERVER}
    text = HEADER + "".join(f"# {_short_digest(path)}  {name}\n" for name, path in sources.items())
    files.write(root / PATH, (text + lock.text).encode())
    tell(f"{conda.PATH}: {len(both)} packages for Python {lock.python} are in {PATH}")
    return lock


def _locked(root: Path) -> list[str]:
    """Return the packages of the lock that is there, whatever it was resolved from."""
    path = root / PATH
    return parse(path.read_text()).packages if path.is_file() else []


def _compile(requirements: list[str], python: str, preferred: list[str]) -> list[str]:
    """Return all packages that some requirements need, in preferred versions if possible. Raises ReleaseError."""
    with tempfile.TemporaryDirectory() as folder:
        wanted, output = Path(folder) / "requirements.in", Path(folder) / "requirements.txt"
        wanted.write_text("".join(f"{line}\n" for line in requirements))
        output.write_text("".join(f"{line}\n" for line in preferred))
        command = [_uv(), "pip", "compile", "--quiet", "--universal", "--python-version", python]
        command += ["--no-header", "--no-annotate", "--output-file", str(output), str(wanted)]
        done = _run(command)
        if done.returncode and NO_NETWORK.search(done.stderr):
            done = _run([*command, "--offline"])  # its cache may have all that is needed
        if done.returncode:
            raise ReleaseError(f"{conda.PATH}: its packages cannot be installed together\n{_reason(done.stderr)}")
        return [line for line in output.read_text().splitlines() if line and line[0] not in "# -"]


def _run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command, env=uv_environment(), capture_output=True, text=True, check=False, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        raise ReleaseError(f"{conda.PATH}: uv did not find versions within {LIMIT_S:g} s") from None


def _name(line: str) -> str:
    """Return the package of a locked line."""
    return re.split(r"[\s=@\[;]", line, maxsplit=1)[0]


def _reason(printed: str) -> str:
    """Return what uv says of a failure, without its drawing, on one line."""
    text = " ".join(re.sub(r"^[^\w'\"`(]+|^error: ", "", line).strip() for line in printed.splitlines())
    return text.removeprefix("No solution found when resolving dependencies: ") or "uv does not say why"


def _no_python() -> str:
    return f"{conda.PATH} names no Python: version {sysconfig.get_python_version()} is used, as for this tool"


def _uv() -> str:
    return str(Path(sys.executable).with_name("uv"))


def _short_digest(path: Path) -> str:
    return files.digest_file(path)[:12] if path.is_file() else ""
