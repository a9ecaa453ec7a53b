"""Fingerprints: what a step's result depends on, by name, so that a change can be named to people.

A fingerprint maps the name of each file and setting to its content: a file's sha256, a setting's value as JSON.
"""

import itertools
from pathlib import Path
from typing import Any

import msgspec

from lib.errors import SettingsError
from lib.files import digest_file, printable, source_files

Fingerprint = dict[str, str]

FILE = "sha256:"
SHORT = 12  # hexadecimal digits of a digest in texts for people
SUMMARISED = 3  # changes in one line
# Names that records of version 0.1.0 do not have, and a conda file without its lock neither: that is no change.
OPTIONAL = ("packages", "config/conda_dependencies.lock")
NOT_THERE = f"{FILE}not there"


class Change(msgspec.Struct, frozen=True):
    """A changed file or setting: its content before and now, None if it did not or does not exist."""

    name: str
    before: str | None
    now: str | None

    @property
    def of_file(self) -> bool:
        """Whether it is a file: its content is a digest, which says nothing to people."""
        return (self.before or self.now or "").startswith(FILE)

    def __str__(self) -> str:
        if self.now == NOT_THERE:
            return f"{self.name} does not exist"
        if self.before is None:
            return f"{self.name} is new"
        if self.now is None:
            return f"{self.name} was removed"
        return f"{self.name} changed" + ("" if self.of_file else f" from {self.before} to {self.now}")


def of_files(root: Path, *names: str) -> Fingerprint:
    """Fingerprint files, and every file of folders, below the project's root."""
    paths = [
        file for name in names for file in ([root / name] if (root / name).is_file() else source_files(root / name))
    ]
    return {printable(path.relative_to(root)): f"{FILE}{digest_file(path)}" for path in paths}


def require_names(root: Path, *folders: str) -> None:
    """Raise SettingsError for a file whose name is not UTF-8: records, images and other machines cannot name it."""
    for path in itertools.chain.from_iterable(source_files(root / folder) for folder in folders):
        name = path.relative_to(root)
        if printable(name) != name.as_posix():
            raise SettingsError(
                f"the name of the file {printable(name)} is not UTF-8 (unpacked from a zip of Windows?)\n"
                "Rename the file, or remove it"
            )


def of_settings(section: str, **settings: Any) -> Fingerprint:
    """Fingerprint settings of one section of config/release.toml."""
    return {
        f"{section}.{name}": msgspec.json.encode(value, order="deterministic").decode()
        for name, value in settings.items()
    }


def differences(before: Fingerprint, now: Fingerprint) -> list[Change]:
    """Return the changes between two fingerprints, sorted by name."""
    both = before.keys() & now.keys()
    names = sorted(name for name in before.keys() | now.keys() if name in both or name not in OPTIONAL)
    return [Change(name, before.get(name), now.get(name)) for name in names if before.get(name) != now.get(name)]


def summarise(changes: list[Change]) -> str:
    """Return the first changes in one line, and how many more there are; an empty string if there are none."""
    more = f" and {len(changes) - SUMMARISED} more" if len(changes) > SUMMARISED else ""
    return ", ".join(map(str, changes[:SUMMARISED])) + more
