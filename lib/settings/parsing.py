"""Convert JSON and TOML files to settings, and collect every problem instead of raising the first."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from lib.errors import SettingsError
from lib.files import read_text

T = TypeVar("T", bound=msgspec.Struct)


def parse(path: Path, problems: list[str]) -> dict[str, Any] | None:
    """Parse a JSON or TOML file. If that fails, add a problem and return None."""
    try:
        text = read_text(path)
        values = tomllib.loads(text) if path.suffix == ".toml" else msgspec.json.decode(text)
        return msgspec.convert(values, dict[str, Any])
    except FileNotFoundError:
        problems.append(f"{path.parent.name}/{path.name} is missing: restore it from git")
    except SettingsError as error:
        problems.append(str(error).replace("\n", ": "))
    except (ValueError, msgspec.DecodeError) as error:
        problems.append(f"{path.parent.name}/{path.name} cannot be read: {error}")
    return None


def read(kind: type[T], content: dict[str, Any] | None, place: str, problems: list[str]) -> T | None:
    """Convert values to a struct, field by field; `place` names the file and section in problems."""
    if content is None:
        return None
    before = len(problems)
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    values = {
        name: _read_field(fields[name], value, f"{place}: {name}", problems)
        for name, value in content.items()
        if name in fields
    }
    names = ", ".join(fields)
    problems += [f"{place}: unknown key {name}: choose one of {names}" for name in content if name not in fields]
    absent = [name for name, field in fields.items() if field.required and name not in content]
    problems += [f"{place}: {name} is missing" for name in absent]
    return kind(**values) if len(problems) == before else None


def _read_field(field: msgspec.structs.FieldInfo, value: Any, place: str, problems: list[str]) -> Any:
    if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct) and isinstance(value, dict):
        return read(field.type, value, place, problems)
    try:
        return msgspec.convert(value, field.type)
    except msgspec.ValidationError as error:
        problems.append(f"{place}: {str(error)[0].lower()}{str(error)[1:]}")
        return None
