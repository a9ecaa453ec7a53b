"""What `invoke setup` asks for the local platform: whether there is another machine to train on."""

import re
from collections.abc import Generator, Iterator

from lib.settings.editing import DOTENV, SettingsFiles
from lib.settings.questions import Answers, Question, Setting, Topic, like, optional

ADDRESS = r"(?:(?P<user>[\w.-]+)@)?(?P<host>[a-zA-Z0-9][a-zA-Z0-9.-]*|\[[0-9a-fA-F:]+\])(?::(?P<port>\d{1,5}))?"
LAST_PORT = 65535
NAMES = {"host": "VM_HOST", "user": "VM_USER", "port": "VM_SSH_PORT"}


def topics(files: SettingsFiles) -> Iterator[Topic]:
    """Yield the open questions."""
    yield Topic("", _ask_for_machine(files))


def _ask_for_machine(files: SettingsFiles) -> Generator[Question, str, Answers]:
    """Ask for the machine's address. No machine is an answer as well: an empty VM_HOST stores it."""
    if files.variable("VM_HOST") is not None:
        return {}
    typed = yield Question(
        "Another machine to train on, reached by SSH: user@host:port (Enter for none)", optional(_address)
    )
    match = re.fullmatch(ADDRESS, typed)
    if not match:
        return {Setting(DOTENV, "VM_HOST"): ""}
    return {Setting(DOTENV, NAMES[part]): value.strip("[]") for part, value in match.groupdict().items() if value}


def _address(value: str) -> str:
    """Return an address if its port, if any, is in range; see lib.settings.questions.Rule."""
    like(ADDRESS, "an address such as ada@vm.example.org:22")(value)
    match = re.fullmatch(ADDRESS, value)
    if match and match["port"] and not 1 <= int(match["port"]) <= LAST_PORT:
        raise ValueError(f"{match['port']!r} must be a port from 1 to {LAST_PORT}")
    return value
