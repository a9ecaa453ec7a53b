"""Files by their content: kept once, never changed, verified when read."""

from pathlib import Path

from lib.errors import ReleaseError
from lib.files import digest_file, sweep, write


class Blobs:
    """A folder of files named by their sha256."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, sha256: str) -> Path:
        """Return where content is, or would be."""
        return self.folder / sha256[:2] / sha256

    def add(self, path: Path) -> str:
        """Keep a file's content and return its sha256. What was kept and is damaged is replaced."""
        sha256 = digest_file(path)
        place = self.place(sha256)
        if not place.exists() or digest_file(place) != sha256:
            sweep(place.parent)
            write(place, path.read_bytes())
        return sha256

    def read(self, sha256: str, what: str) -> Path:
        """Return a file whose content has been verified. Raises ReleaseError where it is not what was kept."""
        place = self.place(sha256)
        if not place.exists():
            raise ReleaseError(f"{what} is gone: {place} is missing\n`invoke train --force` makes a new one")
        if digest_file(place) != sha256:
            raise ReleaseError(
                f"{what} is damaged: {place} has another content than its name\n"
                "Delete it; `invoke train --force` makes a new one"
            )
        return place
