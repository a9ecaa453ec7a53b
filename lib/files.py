"""Files that are whole or not there, and their digests."""

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

UNSETTLED_NS = 2_000_000_000


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


def digest_large(path: Path, memory: Path) -> str:
    """Return the sha256 of a file's content, which a small file remembers: of a gigabyte it takes most of a second.

    What has been written in the last moments is not remembered, as it may change again without its times showing it.
    """
    stat = path.stat()
    known = f"{stat.st_size} {stat.st_ino} {stat.st_mtime_ns} {stat.st_ctime_ns} {path}"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        sha256, _, remembered = memory.read_text().partition(" ")
        if remembered == known:
            return sha256
    sha256 = digest_file(path)
    if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > UNSETTLED_NS:
        with contextlib.suppress(OSError):  # remembering only saves time
            write(memory, f"{sha256} {known}".encode())
    return sha256


def source_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that a user wrote, in a fixed order: no caches, nothing hidden."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part == "__pycache__" or part.startswith(".") for part in parts):
            yield path
