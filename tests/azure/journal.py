"""The log of every request: in memory to be asked, and as lines of JSON in a file."""

import dataclasses
import json
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

SECRETS = re.compile(r"secret|pass(word|phrase)|credential|token$|key$|keydata$|keyvalue$", re.IGNORECASE)
SIGNATURE = re.compile(r"\b(sig=)[^&\s\"]+")
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
        self.count = 0
        self.file = file.open("a", buffering=1)
        self.lock = threading.Lock()

    def begin(self, method: str, host: str, path: str, query: str) -> Entry:
        """Open an entry."""
        with self.lock:
            self.count += 1
            entry = Entry(self.count, time.time(), method, host, path, SIGNATURE.sub(r"\1(hidden)", query))
            self.entries.append(entry)
        return entry

    def end(self, entry: Entry) -> None:
        """Complete an entry."""
        entry.ms = round((time.time() - entry.time) * 1000, 1)
        brief = dataclasses.asdict(entry)
        with self.lock:
            self.file.write(json.dumps(brief) + "\n")
        if not entry.known:
            sys.stderr.write(f"UNKNOWN {entry.method} https://{entry.host}{entry.path}?{entry.query}\n")
            sys.stderr.flush()

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
    """Hide what looks like a secret, by its name or by the name beside it."""
    if isinstance(value, dict):
        named = isinstance(value.get("name"), str) and SECRETS.search(value["name"])
        return {
            name: "(hidden)" if secret(name, part) or (named and name == "value") else redact(part)
            for name, part in value.items()
        }
    if isinstance(value, str):
        return SIGNATURE.sub(r"\1(hidden)", value)
    return [redact(part) for part in value] if isinstance(value, list) else value


def secret(name: str, value: Any) -> bool:
    """Say whether a member of an object looks like a secret."""
    return isinstance(value, str) and bool(SECRETS.search(name))
