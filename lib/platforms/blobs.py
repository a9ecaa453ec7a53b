"""Files named by their content: stored once, never changed, verified when read."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from lib.errors import ReleaseError
from lib.files import digest, digest_file, sweep, write


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
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                _link(content, path)
        return folder / next(iter(sorted(contents))).split("/")[0]

    def add(self, path: Path) -> str:
        """Store a file's content and return its sha256. A damaged copy is replaced."""
        sha256 = digest_file(path)
        place = self.place(sha256)
        if not place.exists() or digest_file(place) != sha256:
            sweep(place.parent)
            write(place, path.read_bytes())
        return sha256

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


def _link(content: Path, path: Path) -> None:
    """Give a content another name; on file systems without hard links, copy it."""
    try:
        os.link(content, path)
    except OSError:
        shutil.copyfile(content, path)
