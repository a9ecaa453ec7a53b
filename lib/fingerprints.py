"""What a step's result depends on, by name, so that a difference can be told in words.

A fingerprint maps the name of each file and setting to its content: a file's sha256, a setting's value as JSON.
"""

from pathlib import Path
from typing import Any

import msgspec

from lib.files import digest_file, source_files

Fingerprint = dict[str, str]

SHOWN = 3


def of_files(root: Path, *names: str) -> Fingerprint:
    """Fingerprint files, and every file of folders, below the project's root."""
    paths = [
        file for name in names for file in ([root / name] if (root / name).is_file() else source_files(root / name))
    ]
    return {path.relative_to(root).as_posix(): f"sha256:{digest_file(path)}" for path in paths}


def of_settings(section: str, **settings: Any) -> Fingerprint:
    """Fingerprint settings of one section of config/release.toml."""
    return {
        f"{section}.{name}": msgspec.json.encode(value, order="deterministic").decode()
        for name, value in settings.items()
    }


def differences(before: Fingerprint, now: Fingerprint) -> str:
    """Tell in words what changed, or return an empty string where nothing did."""
    told = [told_one(name, before.get(name), now.get(name)) for name in sorted(before.keys() | now.keys())]
    changes = [change for change in told if change]
    more = f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
    return ", ".join(changes[:SHOWN]) + more


def told_one(name: str, before: str | None, now: str | None) -> str:
    """Tell the change of one file or setting."""
    if before == now:
        return ""
    if before is None:
        return f"{name} is new"
    if now is None:
        return f"{name} is gone"
    return f"{name} changed" if now.startswith("sha256:") else f"{name} changed from {before} to {now}"
