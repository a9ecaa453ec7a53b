"""Convert JSON and TOML files to settings, and collect every problem instead of raising the first."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import msgspec

from lib.errors import SettingsError
from lib.files import read_text

T = TypeVar("T", bound=msgspec.Struct)
Key = tuple[str, ...]
TABLE = re.compile(r"\s*\[\[?\s*([^\]#]+?)\s*\]")
ENTRY = re.compile(r"""\s*(?:export\s+)?([\w."'-]+)\s*[=:]""")


class Source:
    """The text of a settings file, "" if there is no file. What is wrong with it is added to `problems`."""

    def __init__(self, name: str, text: str, problems: list[str]) -> None:
        self.name = name
        self.text = text
        self.problems = problems

    @classmethod
    def of(cls, root: Path, name: str, problems: list[str], texts: Mapping[str, str] | None = None) -> "Source":
        """Read a file, or take its text from `texts`."""
        if texts is not None:
            return cls(name, texts.get(name, ""), problems)
        try:
            return cls(name, read_text(root / name), problems)
        except FileNotFoundError:
            return cls(name, "", problems)
        except SettingsError as error:
            problems.append(str(error).replace("\n", ": "))
            return cls(name, "", problems)

    def parse(self) -> dict[str, Any] | None:
        """Return the file's content, which is empty if there is no file; None if it cannot be parsed."""
        if not self.text:
            return {}
        try:
            values = tomllib.loads(self.text) if self.name.endswith(".toml") else msgspec.json.decode(self.text)
            return msgspec.convert(values, dict[str, Any])
        except (ValueError, msgspec.DecodeError) as error:
            self.problems.append(f"{self.name} cannot be read: {error}")
            return None

    def read(self, kind: type[T], content: dict[str, Any] | None, key: Key = ()) -> T | None:
        """Convert values to a struct, field by field; `key` is the section."""
        if content is None:
            return None
        before = len(self.problems)
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        values = {
            name: self._read_field(fields[name], value, (*key, name))
            for name, value in content.items()
            if name in fields
        }
        for name in content.keys() - fields.keys():
            self.report((*key, name), f"is unknown{_words().meant(name, list(fields))}")
        for name, field in fields.items():
            if field.required and name not in content:
                self.report((*key, name), "is missing")
        try:
            return kind(**values) if len(self.problems) == before else None
        except ValueError as error:  # of a __post_init__, which compares fields
            self.report(key, str(error))
            return None

    def report(self, key: Key, problem: str) -> None:
        """Add a problem of a setting, with its line."""
        if self.name == ".env":
            key = tuple(part.upper() for part in key)
        line = self._lines().get(key) or self._lines().get(key[:-1])
        self.problems.append(f"{self.name}{f', line {line}' if line else ''}: {'.'.join(key)} {problem}")

    def _read_field(self, field: msgspec.structs.FieldInfo, value: Any, key: Key) -> Any:
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct) and isinstance(value, dict):
            return self.read(field.type, value, key)
        try:
            return msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            text = json.dumps(value, default=repr, ensure_ascii=False)
            self.report(key, f"{text} is not {_words().description(field.type)}")
            return None

    def _lines(self) -> dict[Key, int]:
        """Return the line of each setting and each section."""
        return dict(_keys(self.text))


def _words() -> ModuleType:
    from lib.settings import words  # only for problems: what it imports takes a moment

    return words


def _keys(text: str) -> Iterator[tuple[Key, int]]:
    section: Key = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if table := TABLE.match(line):
            section = _parts(table[1])
            yield section, number
        elif entry := ENTRY.match(line):
            yield (*section, *_parts(entry[1])), number


def _parts(name: str) -> Key:
    return tuple(part.strip(" \t\"'") for part in name.split("."))
