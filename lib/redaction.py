"""Replace secrets in texts by ***: as they are, and as libraries print them in addresses, JSON and base64.

This file goes into every image. It imports the standard library only.
"""

import base64
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "***"
SHORTEST = 4  # characters: a shorter value is part of too many words


class Redactor:
    """Replaces the values of secrets in a text."""

    def __init__(self, values: Iterable[str]) -> None:
        forms = {form for value in values for form in _forms(value) if len(form) >= SHORTEST}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))  # a short one may begin a long one
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def __call__(self, text: str) -> str:
        """Return a text without the secrets."""
        return self._pattern.sub(MASK, text) if self._pattern else text


class RedactedStream:
    """A stream that writes no secret."""

    def __init__(self, stream: Any, redact: Redactor) -> None:
        self._stream = stream
        self._redact = redact

    def write(self, text: str) -> int:
        """Write a text without the secrets."""
        self._stream.write(self._redact(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def receive(secrets: dict[str, str]) -> None:
    """Give this process secrets as environment variables. It prints none of them from now on."""
    os.environ.update(secrets)
    if secrets:
        redact = Redactor(secrets.values())
        sys.stdout, sys.stderr = RedactedStream(sys.stdout, redact), RedactedStream(sys.stderr, redact)


def read_folder(folder: str) -> dict[str, str]:
    """Return the secrets of a service: each file of a folder has the name and the value of one."""
    paths = [path for path in Path(folder).iterdir() if not path.name.startswith(".")] if folder else []
    return {path.name: path.read_text() for path in paths}


def _forms(value: str) -> Iterator[str]:
    for part in {value, *map(str.strip, value.splitlines())}:
        yield from (part, quote(part), quote(part, safe=""), quote_plus(part), json.dumps(part)[1:-1])
        yield from (
            encode(part.encode()).decode().rstrip("=") for encode in (base64.b64encode, base64.urlsafe_b64encode)
        )
