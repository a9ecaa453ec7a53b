"""Edit settings in their files. Everything else in the files stays the same, comments included."""

import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib import files
from lib.errors import SettingsError
from lib.settings.env import read_dotenv
from lib.settings.parsing import Source
from lib.settings.questions import Answers

DOTENV, WORKSPACE, RELEASE = ".env", "config/config.json", "config/release.toml"
PRIVATE = 0o600
PLAIN = re.compile(r"[\w@%+=:,./~-]*", re.ASCII)


class SettingsFiles:
    """The content of the settings files, not validated. Raises SettingsError if a file cannot be parsed."""

    def __init__(self, root: Path) -> None:
        problems: list[str] = []
        self.root = root
        self.workspace = Source.of(root, WORKSPACE, problems).parse() or {}
        self.release = Source.of(root, RELEASE, problems).parse() or {}
        self.dotenv = read_dotenv(root / DOTENV, problems)
        if problems:
            raise SettingsError("\n".join(problems))

    def variable(self, name: str) -> str | None:
        """Return a variable of the environment or .env: "" if it is there without a value, None if it is not there."""
        return os.environ.get(name) or self.dotenv.get(name)

    def write(self, answers: Answers) -> list[str]:
        """Write the answers, and create .env if there is none; return the names of the changed files.

        Raises SettingsError before it writes any file.
        """
        texts = {file: self._edit(file, answers) for file in {DOTENV: None} | {place.file: None for place in answers}}
        changed = [file for file, text in texts.items() if text != self._text(file) or not (self.root / file).exists()]
        for file in changed:
            path = (self.root / file).resolve()  # replacing a symbolic link would cut it off from its target
            files.write(path, texts[file].encode(), mode=PRIVATE if file == DOTENV else 0o644)
        return changed

    def _edit(self, file: str, answers: Answers) -> str:
        text = self._text(file)
        edit = EDITORS[Path(file).suffix]
        for place, value in answers.items():
            if place.file == file:
                text = edit(text, place.name, value)
        return text

    def _text(self, file: str) -> str:
        # A new .env starts as a copy of .env.example, which documents the variables.
        path = self.root / file
        if file == DOTENV and not path.exists():
            path = self.root / ".env.example"
        return files.read_text(path) if path.exists() else ""


def with_variable(text: str, name: str, value: str) -> str:
    """Set a variable in the text of .env: in its own line, else in a line that has it as a comment, else at the end.

    Raises SettingsError if .env cannot represent the value.
    """
    from dotenv import dotenv_values

    if dotenv_values(stream=io.StringIO(text)).get(name) == value:
        return text
    # The library dotenv can edit such a file, too, but loses comments behind values.
    literal = value if PLAIN.fullmatch(value) else "'" + re.sub(r"([\\'])", r"\\\1", value) + "'"
    quoted = r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^\r\n]*?"""
    line = rf"^([ \t]*(?:export[ \t]+)?{name}[ \t]*=[ \t]*)(?:{quoted})([ \t]+#[^\r\n]*|[ \t]*)(?=\r?$)"
    example = rf"^()# ?{name}=[^\r\n]*()(?=\r?$)"
    for pattern in (line, example):
        if matches := list(re.finditer(pattern, text, re.MULTILINE)):
            last = matches[-1]  # of several lines, dotenv reads the last
            changed = f"{text[: last.start()]}{last[1] or f'{name}='}{literal}{last[2]}{text[last.end() :]}"
            break
    else:
        changed = f"{text}{'' if text.endswith(chr(10)) or not text else chr(10)}{name}={literal}\n"
    if dotenv_values(stream=io.StringIO(changed)).get(name) != value:
        raise SettingsError(f".env cannot hold this value of {name}\nSet the environment variable instead")
    return changed


def with_key(text: str, name: str, value: str) -> str:
    """Set a key in the text of a JSON object."""
    content = json.loads(text or "{}")
    if content.get(name) == value:  # keeps the formatting
        return text
    return json.dumps(content | {name: value}, indent=4, ensure_ascii=False) + "\n"


def with_entry(text: str, name: str, value: str) -> str:
    """Set an entry in a TOML text; dots in its name separate sections."""
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
