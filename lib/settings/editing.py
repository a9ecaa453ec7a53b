"""Change settings in the files where people keep them; all that is not changed stays as it is, comments too."""

import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib import files
from lib.errors import SettingsError
from lib.settings.parsing import parse
from lib.settings.questions import Answers

DOTENV, WORKSPACE, RELEASE = ".env", "config/config.json", "config/release.toml"
PRIVATE = 0o600
PLAIN = re.compile(r"[\w@%+=:,./~-]*", re.ASCII)


class SettingsFiles:
    """The settings as their files have them, right or wrong. Raises SettingsError where one of these is broken."""

    def __init__(self, root: Path) -> None:
        from dotenv import dotenv_values

        problems: list[str] = []
        self.root = root
        self.workspace = parse(root / WORKSPACE, problems) or {}
        self.release = parse(root / RELEASE, problems) or {}
        self.dotenv = dotenv_values(root / DOTENV)
        if problems:
            raise SettingsError("\n".join(problems))

    def variable(self, name: str) -> str | None:
        """Return a variable of the environment or of .env: empty where it is there without a value, None where not."""
        return os.environ.get(name) or self.dotenv.get(name)

    def write(self, answers: Answers) -> list[str]:
        """Write what is not there yet, and .env where there is none; return the names of the files written.

        Each file is written whole or not at all. Raises SettingsError before any is.
        """
        texts = {file: self.edited(file, answers) for file in {DOTENV: None} | {place.file: None for place in answers}}
        changed = [file for file, text in texts.items() if text != self.text(file) or not (self.root / file).exists()]
        for file in changed:
            path = (self.root / file).resolve()  # a link to a file elsewhere stays one
            files.write(path, texts[file].encode(), mode=PRIVATE if file == DOTENV else 0o644)
        return changed

    def edited(self, file: str, answers: Answers) -> str:
        """Return a file's text with its answers."""
        text = self.text(file)
        edit = EDITORS[Path(file).suffix]
        for place, value in answers.items():
            if place.file == file:
                text = edit(text, place.name, value)
        return text

    def text(self, file: str) -> str:
        """Return a file's text; that of .env begins as .env.example."""
        path = self.root / file
        if file == DOTENV and not path.exists():
            path = self.root / ".env.example"
        return path.read_bytes().decode() if path.exists() else ""


def with_variable(text: str, name: str, value: str) -> str:
    """Set a variable in the text of a .env: in its line, or in the line that is there as an example.

    Raises SettingsError where .env cannot hold the value.
    """
    from dotenv import dotenv_values

    if dotenv_values(stream=io.StringIO(text)).get(name) == value:
        return text
    written = value if PLAIN.fullmatch(value) else "'" + re.sub(r"([\\'])", r"\\\1", value) + "'"
    quoted = r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^\r\n]*?"""
    line = rf"^([ \t]*(?:export[ \t]+)?{name}[ \t]*=[ \t]*)(?:{quoted})([ \t]+#[^\r\n]*|[ \t]*)(?=\r?$)"
    example = rf"^()# ?{name}=[^\r\n]*()(?=\r?$)"
    for pattern in (line, example):
        if found := list(re.finditer(pattern, text, re.MULTILINE)):
            start = found[-1][1] or f"{name}="
            changed = f"{text[: found[-1].start()]}{start}{written}{found[-1][2]}{text[found[-1].end() :]}"
            break
    else:
        changed = f"{text}{'' if text.endswith(chr(10)) or not text else chr(10)}{name}={written}\n"
    if dotenv_values(stream=io.StringIO(changed)).get(name) != value:
        raise SettingsError(f".env cannot hold this value of {name}\nSet it in the environment instead")
    return changed


def with_key(text: str, name: str, value: str) -> str:
    """Set a key of an object of JSON; one that has it already stays as it is."""
    found = json.loads(text)
    if found.get(name) == value:
        return text
    return json.dumps(found | {name: value}, indent=4, ensure_ascii=False) + "\n"


def with_entry(text: str, name: str, value: str) -> str:
    """Set an entry of TOML, its sections before it with dots."""
    import tomlkit

    document = tomlkit.parse(text)
    *sections, key = name.split(".")
    table: Any = document
    for section in sections:
        table = table.setdefault(section, {})
    if table.get(key) == value:
        return text
    table[key] = value
    return tomlkit.dumps(document)


EDITORS: dict[str, Callable[[str, str, str], str]] = {
    "": with_variable,
    ".json": with_key,
    ".toml": with_entry,
}
