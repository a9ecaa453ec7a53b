"""Files that are written completely or not at all, and digests of files."""

import codecs
import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from lib.errors import SettingsError

BLOCK_BYTES = 512  # the unit of st_blocks
UNSETTLED_NS = 2_000_000_000  # more than the resolution of any file system's timestamps


def read_text(path: Path) -> str:
    """Return the text of a file that a person edits: UTF-8, with or without a byte order mark.

    Raises SettingsError that names the file, its line and the likely encoding.
    """
    content = path.read_bytes()
    name = path.name if path.name.startswith(".") else f"{path.parent.name}/{path.name}"
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content:
        raise SettingsError(f"{name} is not UTF-8 text, probably UTF-16\nSave it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SettingsError(f"{name}, line {line}: not UTF-8 text, probably Latin-1\nSave it as UTF-8") from None


def write(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a temporary file and rename it, so that neither a reader nor a crash ever sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".aside-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            file.flush()
            # Without this, a power failure after the rename could leave an empty file under the final name.
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:  # Ctrl-C, too
        Path(temporary).unlink(missing_ok=True)
        raise


def sweep(folder: Path) -> None:
    """Remove the temporary files of killed processes. Only for folders with one writer at a time."""
    for temporary in folder.glob(".aside-*"):
        temporary.unlink(missing_ok=True)


def digest(content: bytes) -> str:
    """Return the content's sha256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def digest_file(path: Path) -> str:
    """Return the sha256 of a file's content in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_large(path: Path, memory: Path) -> str:
    """Return the sha256 of a file's content, cached in the file `memory`: hashing a gigabyte takes most of a second.

    The cache is valid while the file's size, inode and times are the same. A file that was just written is not cached:
    it may change again within the resolution of its timestamps.
    """
    stat = path.stat()
    identity = f"{stat.st_size} {stat.st_ino} {stat.st_mtime_ns} {stat.st_ctime_ns} {path}"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        sha256, _, remembered = memory.read_text().partition(" ")
        if remembered == identity:
            return sha256
    sha256 = digest_file(path)
    if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > UNSETTLED_NS:
        with contextlib.suppress(OSError):  # the cache only saves time
            write(memory, f"{sha256} {identity}".encode())
    return sha256


def disk_usage(folder: Path, without: Collection[str]) -> int:
    """Return the bytes that a folder takes on the disk, without some folders in it; a file of two names counts once."""
    sizes: dict[int, int] = {}
    for parent, folders, names in os.walk(folder):
        if parent == str(folder):
            folders[:] = [name for name in folders if name not in without]
        for name in names:
            with contextlib.suppress(OSError):  # removed meanwhile
                stat = (Path(parent) / name).lstat()
                sizes[stat.st_ino] = stat.st_blocks * BLOCK_BYTES
    return sum(sizes.values())


def printable(path: Path) -> str:
    """Return a path as text that can be printed and stored: bytes of its name that are not UTF-8 are escaped."""
    return os.fsencode(path.as_posix()).decode(errors="backslashreplace")


def source_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder in a fixed order, without hidden files and Python's caches."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part == "__pycache__" or part.startswith(".") for part in parts):
            yield path


def copy_sources(folder: Path, copy: Path) -> None:
    """Copy the source files of a folder."""
    for path in source_files(folder):
        target = copy / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
