"""Messages to the CI system that runs a task: errors, secrets to mask, outputs for later jobs, a summary.

CI systems read commands from the log. Lines of a training that look like commands are made harmless.
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


class CiSystem:
    """The messages that a CI system accepts. This base class drops them: it stands for a task started outside CI."""

    def error(self, title: str, message: str) -> None:
        """Show an error on the run's summary page."""

    def mask(self, value: str) -> None:
        """Remove a secret from the log from now on. Secrets of the CI system's own store are masked already."""

    def output(self, name: str, value: str) -> None:
        """Set an output of the job, for the conditions of later jobs."""

    def summarise(self, markdown: Path) -> None:
        """Show a Markdown file on the run's summary page."""


class GithubActions(CiSystem):
    """GitHub Actions reads workflow commands, and files whose paths it sets in environment variables."""

    def error(self, title: str, message: str) -> None:
        _send(f"::error title={_escape(title)}::{_escape(message)}")

    def mask(self, value: str) -> None:
        _send(f"::add-mask::{_escape(value)}")

    def output(self, name: str, value: str) -> None:
        _append("GITHUB_OUTPUT", f"{name}={value}")

    def summarise(self, markdown: Path) -> None:
        _append("GITHUB_STEP_SUMMARY", markdown.read_text(encoding="utf-8"))


class AzurePipelines(CiSystem):
    """Azure Pipelines reads logging commands."""

    def error(self, title: str, message: str) -> None:
        _send(f"##vso[task.logissue type=error]{_escape(f'{title}: {message}', '%AZP25')}")

    def mask(self, value: str) -> None:
        _send(f"##vso[task.setsecret]{_escape(value, '%AZP25')}")

    def output(self, name: str, value: str) -> None:
        _send(f"##vso[task.setvariable variable={name};isOutput=true]{value}")

    def summarise(self, markdown: Path) -> None:
        _send(f"##vso[task.uploadsummary]{markdown}")


def current() -> CiSystem:
    """Return the CI system that runs this process."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        return GithubActions()
    return AzurePipelines() if os.environ.get("TF_BUILD") == "True" else CiSystem()


def failed(message: str, exit_code: int) -> str:
    """Report an error to the CI system, and return the message in a form that is safe to print."""
    if not _in_ci():
        return message
    current().error(f"exit code {exit_code}", message.removeprefix("Error: "))
    return harmless(message)


def harmless(text: str) -> str:
    """Break every command of a CI system in a text by a space."""
    return COMMANDS.sub(lambda match: f"{match[0]} ", text)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """In CI, make everything harmless that is printed meanwhile. Only the functions above still send commands."""
    if not _in_ci() or isinstance(sys.stdout, _HarmlessStream):
        yield
        return
    out, errors = cast(TextIO, _HarmlessStream(sys.stdout)), cast(TextIO, _HarmlessStream(sys.stderr))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        yield


class _HarmlessStream:
    """A stream that makes text harmless before it writes it."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return self.stream.write(harmless(text))

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)


def _in_ci() -> bool:
    return type(current()) is not CiSystem


def _escape(text: str, percent: str = "%25") -> str:
    # A line end would end the command, and a percent sign begins an escape.
    return text.replace("%", percent).replace("\r", "%0D").replace("\n", "%0A")


def _send(line: str) -> None:
    stream = sys.stdout.stream if isinstance(sys.stdout, _HarmlessStream) else sys.stdout  # must arrive as a command
    stream.write(f"{line}\n")
    stream.flush()


def _append(variable: str, text: str) -> None:
    # Programs that run workflows on a laptop set GITHUB_ACTIONS, but not always these variables.
    if path := os.environ.get(variable):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")
