"""Turn files of JSON and TOML into settings, and find every problem in them instead of only the first."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)


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
        return msgspec.convert(value, field.type)
    except msgspec.ValidationError as error:
        problems.append(f"{place}: {str(error)[0].lower()}{str(error)[1:]}")
        return None
