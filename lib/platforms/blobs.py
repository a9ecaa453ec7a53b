"""Files named by their content: stored once, never changed, verified when read."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path

from lib.errors import ReleaseError
from lib.files import digest, digest_file, sweep

READ_ONLY = 0o444


class Blobs:
    """A folder of files named by their sha256."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, sha256: str) -> Path:
        """Return the path of a content, whether it is stored or not."""
        return self.folder / sha256[:2] / sha256

    def add_all(self, folder: Path, names: Iterable[str]) -> dict[str, str]:
        """Store files of a folder, and return the sha256 of each."""
        return {name: self.add(folder / name) for name in names}

    def link(self, contents: dict[str, str], what: str) -> Path:
        """Return files under their own names: the path of a single file, or of the folder that has all of them.

        `contents` maps the names to the sha256 of stored contents, which are verified. Raises ReleaseError.
        """
        listing = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(contents.items()))
        folder = self.folder / "named" / digest(listing.encode())[:16]
        for name, sha256 in contents.items():
            content, path = self.read(sha256, f"{name} of {what}"), folder / name
            if not (path.exists() and path.samefile(content)):
                path.unlink(missing_ok=True)
                share(content, path)
        return folder / next(iter(sorted(contents))).split("/")[0]

    def add(self, path: Path) -> str:
        """Store a file's content and return its sha256. A damaged copy is replaced."""
        sha256 = digest_file(path)
        place = self.place(sha256)
        if not place.exists() or digest_file(place) != sha256:
            place.parent.mkdir(parents=True, exist_ok=True)
            sweep(place.parent)
            aside = place.parent / f".aside-{uuid.uuid4().hex}"
            try:
                share(path, aside)
                aside.replace(place)
            finally:
                aside.unlink(missing_ok=True)
        return sha256

    def keep_only(self, contents: set[str]) -> None:
        """Remove all other contents, and the names of files that have them."""
        for place in self.folder.glob("??/*"):
            if place.name not in contents:
                place.unlink(missing_ok=True)
        stored = {place.stat().st_ino for place in self.folder.glob("??/*")}
        for folder in (self.folder / "named").glob("*"):
            if not {path.stat().st_ino for path in folder.rglob("*") if path.is_file()} <= stored:
                shutil.rmtree(folder, ignore_errors=True)

    def read(self, sha256: str, what: str) -> Path:
        """Return a file with verified content. Raises ReleaseError if it is missing or damaged."""
        place = self.place(sha256)
        if not place.exists():
            raise ReleaseError(f"{what} is missing: {place} does not exist\n`invoke train --force` makes a new one")
        if digest_file(place) != sha256:
            raise ReleaseError(
                f"{what} is damaged: the content of {place} does not match its name\n"
                "Delete it; `invoke train --force` makes a new one"
            )
        return place


def share(content: Path, path: Path) -> None:
    """Give a content another name, which takes no space; on file systems without hard links, copy it.

    Both files are read-only from then on: what is written into one of them would be in the other, too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(content, path)
    except OSError:
        shutil.copyfile(content, path)
    with contextlib.suppress(PermissionError):  # the digests are verified in any case
        path.chmod(READ_ONLY)
    with path.open("rb") as file:
        os.fsync(file.fileno())  # as in lib.files.write
