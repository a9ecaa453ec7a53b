"""What every step works with."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lib import git
from lib.forks.client import Forks
from lib.platforms.base import Platform
from lib.release.fingerprints import Fingerprint
from lib.release.records import Record, Records
from lib.settings import Settings

R = TypeVar("R", bound=Record)
# What a release is made of, beside its data.
MADE_OF = ["config", "lib", "model", "service", "tasks.py", "requirements.txt"]


@dataclass
class Context:
    """What a release works with. `found` holds the records read or written so far, each with its digest.

    `absences` holds, by step, what the platform has said of results that looked fresh.
    """

    settings: Settings
    platform: Platform
    records: Records
    forks: Forks
    tell: Callable[[str], None] = lambda _line: None
    ask: Callable[[str], bool] = lambda _question: False
    forced: bool = False
    found: dict[type[Record], tuple[Record, str]] = field(default_factory=dict)
    absences: dict[str, str] = field(default_factory=dict)

    @functools.cached_property
    def commit(self) -> str:
        """The project's commit, looked up once; see Record."""
        data = self.settings.release.train.data
        return git.commit(self.settings.root, [*MADE_OF, data] if data else MADE_OF)

    def get(self, kind: type[R]) -> R:
        """Return the record of a step that is known to be fresh."""
        record, _ = self.found[kind]
        assert isinstance(record, kind)  # noqa: S101 - the key says so
        return record


@dataclass(frozen=True)
class Step:
    """One step. `absent` says what of its result is no longer there, and is empty where all is."""

    name: str
    record: type[Record]
    inputs: Callable[[Context], Fingerprint]
    absent: Callable[[Context, Any], str]
    run: Callable[[Context, Fingerprint, str], Record]
