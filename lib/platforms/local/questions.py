"""What a person is asked before a release runs on this machine: whether there is another one to train on."""

import re
from collections.abc import Generator, Iterator

from lib.settings.editing import DOTENV, SettingsFiles
from lib.settings.questions import Answers, Question, Setting, Topic, like, optional

ADDRESS = r"(?:(?P<user>[\w.-]+)@)?(?P<host>[a-zA-Z0-9][a-zA-Z0-9.-]*|\[[0-9a-fA-F:]+\])(?::(?P<port>\d{1,5}))?"
LAST_PORT = 65535
NAMES = {"host": "VM_HOST", "user": "VM_USER", "port": "VM_SSH_PORT"}


def topics(files: SettingsFiles) -> Iterator[Topic]:
    """Give what is left to ask."""
    yield Topic("", machine(files))


def machine(files: SettingsFiles) -> Generator[Question, str, Answers]:
    """Ask for the machine's address; none is an answer, and an empty VM_HOST keeps it."""
    if files.variable("VM_HOST") is not None:
        return {}
    typed = yield Question(
        "Another machine to train on, reached by SSH: user@host:port (Enter for none)", optional(address)
    )
    found = re.fullmatch(ADDRESS, typed)
    if not found:
        return {Setting(DOTENV, "VM_HOST"): ""}
    return {Setting(DOTENV, NAMES[part]): value.strip("[]") for part, value in found.groupdict().items() if value}


def address(value: str) -> str:
    """Return an address whose port, where it has one, can be one; see lib.settings.questions.Rule."""
    like(ADDRESS, "an address such as ada@vm.example.org:22")(value)
    found = re.fullmatch(ADDRESS, value)
    if found and found["port"] and not 1 <= int(found["port"]) <= LAST_PORT:
        raise ValueError(f"{found['port']!r} must be a port from 1 to {LAST_PORT}")
    return value
