"""docs/own-model.md as its reader follows it: files to write, and commands with what they print."""

import doctest
import re
import subprocess
from collections.abc import Callable
from typing import NamedTuple

from tests.support.project import ROOT, Project

PAGE = (ROOT / "docs/own-model.md").read_text()
# The section of each example, by its number.
EXAMPLES = {
    int(text[0]): text for text in re.split(r"^## (?:Example )?", PAGE, flags=re.MULTILINE) if text[:1].isdigit()
}
FILE = re.compile(r"^`([\w./]+)`[^\n]*:\n\n```(?P<kind>\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^```console\n\$ (.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Step(NamedTuple):
    """One thing that the page has its reader do: change a file, or run a command that prints something."""

    place: int
    file: str = ""
    kind: str = ""
    content: str = ""
    command: str = ""
    printed: str = ""


def steps(example: int) -> list[Step]:
    """Return what an example has its reader do, in its order."""
    text = EXAMPLES[example]
    files = [Step(one.start(), file=one[1], kind=one[2], content=one[3]) for one in FILE.finditer(text)]
    commands = [Step(one.start(), command=one[1], printed=one[2]) for one in CONSOLE.finditer(text)]
    assert len(files) + len(commands) == text.count("\n```\n"), (
        "there is a block that nobody would know what to do with"
    )
    return sorted(files + commands)


def write(project: Project, step: Step) -> None:
    """Write a whole file, or replace what a diff takes out of it by what it puts in."""
    if step.kind != "diff":
        (project.root / step.file).write_text(step.content)
        return
    for hunk in step.content.split("\n\n"):
        lines = hunk.strip("\n").splitlines()
        old, new = ("".join(f"{line[1:]}\n" for line in lines if line[0] in f" {sign}") for sign in "-+")
        project.edit(step.file, old, new)


def run(project: Project, step: Step) -> None:
    """Run a command, and compare what it prints; `...` on the page stands for anything."""
    program, *arguments = step.command.split()
    if program != "invoke":
        subprocess.run([program, *arguments], cwd=project.root, check=True)
        return
    wanted = step.printed
    for port, own in zip((8501, 8502), project.ports, strict=True):
        wanted = wanted.replace(str(port), str(own))
    printed = project.invoke(*arguments)
    same = doctest.OutputChecker().check_output(wanted, printed.lstrip("\n"), doctest.ELLIPSIS)
    assert same, f"{step.command} printed\n{printed}\nThe page says\n{wanted}"


def follow(project: Project, example: int = 1, until: Callable[[Step], bool] = lambda _step: False) -> None:
    """Do what an example says, up to the first step for which `until` is true."""
    for step in steps(example):
        if until(step):
            return
        (run if step.command else write)(project, step)
