"""Read config/ and .env, and report everything that is wrong with them at once."""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from lib.errors import SettingsError
from lib.gate import Rule

Name = Annotated[str, msgspec.Meta(pattern="^[a-z]([a-z0-9-]{1,30})[a-z0-9]$", description="3 to 32 of a-z, 0-9 and -")]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Port = Annotated[int, msgspec.Meta(ge=1024, le=65535)]
KEY_LENGTH = 32
T = TypeVar("T", bound=msgspec.Struct)


class Secret:
    """A value that prints as ***."""

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself."""
        return self._value

    def __repr__(self) -> str:
        return "***"


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings that cannot be changed, and have no unknown fields."""


class Workspace(Struct, frozen=True):
    """config.json: the workspace, as Azure ML names it."""

    subscription_id: str
    resource_group: str
    workspace_name: str
    location: str


class Model(Struct, frozen=True):
    """What is trained and registered."""

    name: Name
    experiment: Name
    description: str = ""


class Train(Struct, frozen=True):
    """How model/train.py is run; the parameters become its arguments."""

    compute: Literal["local"] = "local"
    timeout_s: Seconds = 600
    parameters: dict[str, int | float | str] = {}


class Service(Struct, frozen=True):
    """One web service."""

    name: Name
    port: Port
    workers: Positive = 1


class Services(Struct, frozen=True):
    """The staging service (aci) and the production service (aks)."""

    aci: Service
    aks: Service


class Limits(Struct, frozen=True):
    """Limits of the services and their tests."""

    request_bytes: Positive = 1048576
    start_timeout_s: Seconds = 60
    test_rows: Positive = 20


class Release(Struct, frozen=True):
    """config/release.toml."""

    model: Model
    train: Train
    gate: Rule
    services: Services
    limits: Limits


class Environment(Struct, frozen=True):
    """.env and the environment, which goes before .env."""

    platform: Literal["local"] = "local"
    local_workspace: str = ".workspace"
    scoring_key_primary: Secret | None = None
    scoring_key_secondary: Secret | None = None


class Settings(Struct, frozen=True):
    """Everything that a release may choose, loaded once by the task."""

    root: Path
    workspace: Workspace
    release: Release
    environment: Environment

    @property
    def folder(self) -> Path:
        """Where the local platform keeps everything."""
        return self.root / self.environment.local_workspace

    @property
    def records(self) -> Path:
        """Where the records of this platform are."""
        return self.root / "artifacts" / self.environment.platform


def load(root: Path) -> Settings:
    """Read all settings. Raises SettingsError that lists every problem."""
    problems: list[str] = []
    workspace = read(Workspace, parse(root / "config/config.json", problems), "config/config.json", problems)
    release = read(Release, parse(root / "config/release.toml", problems), "config/release.toml", problems)
    environment = read(Environment, read_environment(root / ".env", problems), ".env", problems)
    if release:
        check_services(release, problems)
    if problems or not (workspace and release and environment):
        raise SettingsError("\n".join(problems))
    return Settings(root=root, workspace=workspace, release=release, environment=environment)


def parse(path: Path, problems: list[str]) -> dict[str, Any] | None:
    """Parse a file of JSON or TOML; a broken one is a problem, and None."""
    try:
        content = path.read_bytes()
        found = tomllib.loads(content.decode()) if path.suffix == ".toml" else msgspec.json.decode(content)
        return msgspec.convert(found, dict[str, Any])
    except FileNotFoundError:
        problems.append(f"{path.parent.name}/{path.name} is missing: restore it from git")
    except (ValueError, msgspec.DecodeError) as error:
        problems.append(f"{path.parent.name}/{path.name} cannot be read: {error}")
    return None


def read(kind: type[T], found: dict[str, Any] | None, place: str, problems: list[str]) -> T | None:
    """Convert field by field, so that all problems are found and not only the first."""
    if found is None:
        return None
    before = len(problems)
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    values = {
        name: read_field(fields[name], value, f"{place}: {name}", problems)
        for name, value in found.items()
        if name in fields
    }
    known = ", ".join(fields)
    problems += [f"{place}: {name} is unknown, known are {known}" for name in found if name not in fields]
    missing = [name for name, field in fields.items() if field.required and name not in found]
    problems += [f"{place}: {name} is missing" for name in missing]
    return kind(**values) if len(problems) == before else None


def read_field(field: msgspec.structs.FieldInfo, value: Any, place: str, problems: list[str]) -> Any:
    """Convert one value, or one section of values."""
    if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct) and isinstance(value, dict):
        return read(field.type, value, place, problems)
    try:
        return value if isinstance(value, Secret) else msgspec.convert(value, field.type)
    except msgspec.ValidationError as error:
        problems.append(f"{place}: {str(error)[0].lower()}{str(error)[1:]}")
        return None


def read_environment(path: Path, problems: list[str]) -> dict[str, Any]:
    """Merge .env and the environment; keys become secrets at once."""
    from dotenv import dotenv_values

    known = {name.upper() for name in Environment.__struct_fields__}
    given = {name: value for name, value in dotenv_values(path).items() if value}
    given |= {name: os.environ[name] for name in known if os.environ.get(name)}
    problems += [f".env: {name} is unknown, known are {', '.join(sorted(known))}" for name in given.keys() - known]
    for name in ("SCORING_KEY_PRIMARY", "SCORING_KEY_SECONDARY"):
        key = given.get(name)
        if key is not None and (len(key) < KEY_LENGTH or not key.isascii() or not key.isprintable() or " " in key):
            problems.append(
                f".env: {name} must be {KEY_LENGTH} or more ASCII characters without spaces: "
                "python -c 'import secrets; print(secrets.token_urlsafe(32))' makes one"
            )
    return {name.lower(): Secret(value) if "KEY" in name else value for name, value in given.items() if name in known}


def check_services(release: Release, problems: list[str]) -> None:
    """Check what single fields cannot tell."""
    aci, aks = release.services.aci, release.services.aks
    if aci.name == aks.name:
        problems.append(f"config/release.toml: services.aci and services.aks are both named {aci.name}")
    if aci.port == aks.port:
        problems.append(f"config/release.toml: services.aci and services.aks both use port {aci.port}")
