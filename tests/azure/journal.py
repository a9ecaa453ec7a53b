"""The log of every request: in memory to be asked, and as lines of JSON in a file."""

import dataclasses
import json
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

SECRETS = re.compile(r"secret|password|key[12]$|primary|secondary|token$|privateKey|\bsig\b", re.IGNORECASE)
LONG = 100_000


@dataclasses.dataclass
class Entry:
    """A request and how it was answered. `known` is false where nothing here answers such a request."""

    number: int
    time: float
    method: str
    host: str
    path: str
    query: str
    status: int = 0
    ms: float = 0
    fault: str = ""
    known: bool = True
    rule: str = ""
    request: Any = None
    response: Any = None
    headers: dict[str, str] = dataclasses.field(default_factory=dict)


class Journal:
    """Writes entries to a file when they are complete; warns aloud of what is unknown or refused."""

    def __init__(self, file: Path) -> None:
        self.entries: list[Entry] = []
        self.file = file.open("a", buffering=1)
        self.lock = threading.Lock()

    def begin(self, method: str, host: str, path: str, query: str) -> Entry:
        """Open an entry."""
        with self.lock:
            entry = Entry(len(self.entries) + 1, time.time(), method, host, path, query)
            self.entries.append(entry)
        return entry

    def end(self, entry: Entry) -> None:
        """Complete an entry."""
        entry.ms = round((time.time() - entry.time) * 1000, 1)
        brief = dataclasses.asdict(entry)
        with self.lock:
            self.file.write(json.dumps(brief) + "\n")
        if not entry.known:
            print(f"UNKNOWN {entry.method} https://{entry.host}{entry.path}?{entry.query}", file=sys.stderr, flush=True)

    def refuse(self, method: str, target: str) -> None:
        """Log what wanted out."""
        entry = self.begin(method, target, "", "")
        entry.status, entry.known = 403, False
        self.end(entry)

    def select(self, **patterns: str) -> list[dict[str, Any]]:
        """Return the entries in which each of the fields named matches its pattern."""
        with self.lock:
            entries = list(self.entries)
        return [
            dataclasses.asdict(entry)
            for entry in entries
            if all(re.search(pattern, str(getattr(entry, name))) for name, pattern in patterns.items())
        ]

    def clear(self) -> None:
        """Forget the entries in memory."""
        with self.lock:
            self.entries.clear()


def legible(body: bytes) -> Any:
    """Return a JSON body without its secrets, or None where it is something else."""
    if len(body) > LONG or body[:1] not in (b"{", b"["):
        return None
    try:
        return redact(json.loads(body))
    except ValueError:
        return None


def redact(value: Any) -> Any:
    """Hide what looks like a secret."""
    if isinstance(value, dict):
        return {
            name: "(hidden)" if isinstance(part, str) and SECRETS.search(name) else redact(part)
            for name, part in value.items()
        }
    return [redact(part) for part in value] if isinstance(value, list) else value
