"""What a CI system wants to be told: errors, what it must not show, results for later jobs.

And what must not be taken for such a word: a line of a log that looks like one of its commands.
"""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO, cast

# GitHub's runner obeys `::` at the start of a line and `##[` anywhere in it, Azure's agent `##vso[` anywhere.
COMMANDS = re.compile(r"((?:^|(?<=[\r\n]))\s*:)(?=:)|(##)(?=\[|vso\[)")


class Home:
    """No CI system: whoever started the task reads what it prints, and there is nobody else to be told."""

    def error(self, title: str, message: str) -> None:
        """Show an error where the run is summed up."""

    def mask(self, value: str) -> None:
        """Have a secret, which the system's own store does not know, left out of all that is logged from now on."""

    def output(self, name: str, value: str) -> None:
        """Hand a value to the conditions of later jobs."""

    def summarise(self, markdown: Path) -> None:
        """Show a text with the run."""


class GithubActions(Home):
    """GitHub Actions: workflow commands, and files that it names in the environment."""

    def error(self, title: str, message: str) -> None:
        command(f"::error title={escaped(title)}::{escaped(message)}")

    def mask(self, value: str) -> None:
        command(f"::add-mask::{escaped(value)}")

    def output(self, name: str, value: str) -> None:
        append("GITHUB_OUTPUT", f"{name}={value}")

    def summarise(self, markdown: Path) -> None:
        append("GITHUB_STEP_SUMMARY", markdown.read_text(encoding="utf-8"))


class AzurePipelines(Home):
    """Azure Pipelines: logging commands."""

    def error(self, title: str, message: str) -> None:
        command(f"##vso[task.logissue type=error]{escaped(f'{title}: {message}', '%AZP25')}")

    def mask(self, value: str) -> None:
        command(f"##vso[task.setsecret]{escaped(value, '%AZP25')}")

    def output(self, name: str, value: str) -> None:
        command(f"##vso[task.setvariable variable={name};isOutput=true]{value}")

    def summarise(self, markdown: Path) -> None:
        command(f"##vso[task.uploadsummary]{markdown}")


def current() -> Home:
    """Return the CI system that this process runs in."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        return GithubActions()
    return AzurePipelines() if os.environ.get("TF_BUILD") == "True" else Home()


def escaped(text: str, percent: str = "%25") -> str:
    """Escape what would end a command, or a property of one."""
    return text.replace("%", percent).replace("\r", "%0D").replace("\n", "%0A")


def command(line: str) -> None:
    """Say a command, past what guards the output."""
    stream = sys.stdout.stream if isinstance(sys.stdout, Guarded) else sys.stdout
    stream.write(f"{line}\n")
    stream.flush()


def append(variable: str, text: str) -> None:
    """Add to the file that a variable of the environment names; whoever plays the runner at home may leave it out."""
    if path := os.environ.get(variable):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")


def failed(message: str, exit_code: int) -> str:
    """Tell of an error, and return its message as it may be printed."""
    system = current()
    if type(system) is Home:
        return message
    system.error(f"exit code {exit_code}", message.removeprefix("Error: "))
    return harmless(message)


def harmless(text: str) -> str:
    """Put a space into whatever a CI system would take for a command."""
    return COMMANDS.sub(lambda found: f"{found[0]} ", text)


class Guarded:
    """A stream through which no command of a CI system passes."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write a text, made harmless."""
        return self.stream.write(harmless(text))

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Let nothing that is printed be taken for a command, where a CI system listens."""
    if type(current()) is Home or isinstance(sys.stdout, Guarded):
        yield
        return
    out, errors = cast(TextIO, Guarded(sys.stdout)), cast(TextIO, Guarded(sys.stderr))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        yield
