"""Files that are whole or not there, and their digests."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


def write(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write aside and rename, so that no reader and no crash ever sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=".aside-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def sweep(folder: Path) -> None:
    """Remove what writers that were killed left aside. For folders that one process at a time writes to."""
    for left in folder.glob(".aside-*"):
        left.unlink(missing_ok=True)


def digest(content: bytes) -> str:
    """Return the content's sha256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def digest_file(path: Path) -> str:
    """Return the sha256 of a file's content in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that a user wrote, in a fixed order: no caches, nothing hidden."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part == "__pycache__" or part.startswith(".") for part in parts):
            yield path
