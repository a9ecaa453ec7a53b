"""Files named by their content: stored once, never changed, verified when read."""

from pathlib import Path

from lib.errors import ReleaseError
from lib.files import digest_file, sweep, write


class Blobs:
    """A folder of files named by their sha256."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, sha256: str) -> Path:
        """Return the path of a content, whether it is stored or not."""
        return self.folder / sha256[:2] / sha256

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
