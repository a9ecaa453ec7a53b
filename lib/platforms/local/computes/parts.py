"""Send files of any size in parts.

It needs the standard library of Python 3.8 alone: its source is sent to the machine that trains.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

PART_BYTES = 3 << 18  # divisible by 3, as base64 wants it


def read_parts(path: Path) -> Iterator[str]:
    """Yield a file of any size as text, in parts; an empty file is one part."""
    with path.open("rb") as file:
        part = file.read(PART_BYTES)
        yield base64.b64encode(part).decode()
        while part:
            part = file.read(PART_BYTES)
            yield base64.b64encode(part).decode()


def append_part(path: Path, part: str) -> None:
    """Append a part to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(base64.b64decode(part))
