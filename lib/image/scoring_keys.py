"""The two keys of a service, read again whenever one changes: a renewed key needs no restart.

This file goes into every image. It imports the standard library only, so that any server can use it.
"""

import contextlib
import hmac
from collections.abc import MutableMapping
from pathlib import Path

NAMES = ("PRIMARY", "SECONDARY")

Stamp = tuple[int, int, int]


class ScoringKeys:
    """The keys in the files PRIMARY and SECONDARY of a folder. `fixed` holds keys that do not come from files."""

    def __init__(self, folder: Path, fixed: dict[str, str]) -> None:
        self._folder = folder
        self._fixed = {name: f"Bearer {key}".encode() for name, key in fixed.items()}
        self._from_files: dict[str, bytes] = {}
        self._stamps: dict[str, Stamp] = {}

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> "ScoringKeys":
        """Take the keys, or their folder, out of the environment, so that score.py finds neither there.

        Raises ValueError unless there are two keys.
        """
        fixed = {name: key for name in NAMES if (key := environ.pop(f"SCORING_KEY_{name}", ""))}
        keys = cls(Path(environ.pop("SCORING_KEYS", "/nowhere")), fixed)
        if len(keys.headers()) != len(NAMES):
            raise ValueError(
                "a service needs two keys: SCORING_KEY_PRIMARY and SCORING_KEY_SECONDARY in the environment, "
                "or the files PRIMARY and SECONDARY in the folder that SCORING_KEYS names"
            )
        return keys

    def accept(self, authorization: bytes) -> bool:
        """Return whether an Authorization header carries one of the keys."""
        # A list, not a generator: comparing with both keys always takes the same time, which tells nothing about them.
        return any([hmac.compare_digest(authorization, header) for header in self.headers()])  # noqa: C419

    def headers(self) -> list[bytes]:
        """Return the headers that are accepted now. Looks at the files' times first, which takes microseconds."""
        for name in NAMES:
            if name not in self._fixed:
                self._refresh(name)
        return list((self._from_files | self._fixed).values())

    def _refresh(self, name: str) -> None:
        """Read a key again if its file has changed. While a file is missing or empty, its last key stays valid."""
        path = self._folder / name
        with contextlib.suppress(OSError):
            stat = path.stat()
            # The inode as well: a file that replaces another within the clock's resolution may have the same time.
            stamp = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if stamp != self._stamps.get(name) and (key := path.read_text().strip()):
                self._from_files[name] = f"Bearer {key}".encode()
                self._stamps[name] = stamp
