"""The documents are true: commands print what they show, and settings, paths and links exist.

docs/own-model.md has a test of its own, which follows it word by word.
"""

import doctest
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.project import LIMIT_S, ROOT, Project, clean_environment
from tests.support.repository import committed

README = ROOT / "README.md"
OWN = {"model/evaluation.py", "model/nearest.py"}  # files that the owner of a model may write
DOCUMENTS = [README, *sorted({*ROOT.glob("docs/**/*.md")} - {ROOT / "docs/own-model.md"})]
BLOCK = re.compile(r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
COMMAND = re.compile(r"^\$ .*\n(?:> .*\n)*", re.M)
PATH = re.compile(r"`((?:config|docs|lib|model|service|tests)/[\w./-]*)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
CHECKED = {"console", "toml", "dotenv"}
# The environment is the one that the tests run in.
INSTEAD = {"make release": "invoke release", ". .venv/bin/activate": "true"}
# What differs in each release, in the order in which it is replaced.
SHAPES = {
    r"-{3,}": "---",
    r"\d{8}-\d{6}-[0-9a-f]{6}\b": "RUN",
    r"\d{4}-\d\d-\d\dT[\d:]+\+00:00": "TIME",
    r"(?<!\S)[\w-]{32}(?!\S)": "KEY",
    r"\b(?=[a-f]*\d)[0-9a-f]{7,64}\b": "DIGEST",
    r"(?<!\S)/[\w./-]+": "PATH",
    r"\S+@\S+": "WHO",
    r"[+-]?\d+(\.\d+)*(e[+-]?\d+)?": "NUMBER",
    r" +": " ",
}


class Block(NamedTuple):
    """A block of a document: its kind, its text, and why it is not run."""

    document: Path
    kind: str
    text: str
    reason: str


def blocks(document: Path) -> list[Block]:
    text = document.read_text()
    matches = [match.groupdict("") for match in BLOCK.finditer(text)]
    assert 2 * len(matches) == len(re.findall("^ *```", text, re.M)), f"{document} has a block that is indented"
    return [Block(document, match["kind"], match["text"], match["reason"]) for match in matches]


BLOCKS = [block for document in DOCUMENTS for block in blocks(document)]
RUN = [block for block in BLOCKS if block.kind == "console" and not block.reason]


def short_name(value: Any) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else ""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A committed project in which nothing has run yet."""
    project = Project(tmp_path_factory.mktemp("clone"))
    committed(project)
    yield project
    project.close()


def typed(command: str) -> str:
    """Return what a person types: the lines of a command without the prompts of the shell."""
    lines = "\n".join(line[2:] for line in command.splitlines())
    return INSTEAD.get(lines, lines)


def session(project: Project, text: str) -> str:
    """Type the commands of a block into a shell, and return what it shows: each command, and what it prints."""
    commands = [command[0] for command in COMMAND.finditer(text)]
    script = "".join(f"cat <<'TYPED'\n{command}TYPED\n{typed(command)}\n" for command in commands)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=project.root,
        env=clean_environment() | {"PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    return done.stdout


def shape(text: str) -> str:
    """Return a text without what differs in each release."""
    for pattern, name in SHAPES.items():
        text = re.sub(pattern, name, text)
    return "".join(f"{line.strip()}\n" for line in text.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("document", dict.fromkeys(block.document for block in RUN), ids=short_name)
def test_commands_print_what_the_document_shows(document: Path, clone: Project) -> None:
    if document != README:  # which shows the first release
        clone.invoke("release")
    for block in (block for block in RUN if block.document == document):
        text = block.text.replace("8501", str(clone.ports[0])).replace("8502", str(clone.ports[1]))
        printed = session(clone, text)
        same = doctest.OutputChecker().check_output(shape(text), shape(printed), doctest.ELLIPSIS)
        assert same, f"{document.name} shows\n{text}\nit is\n{printed}\nThe shapes are\n{shape(text)}\n{shape(printed)}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=short_name)
def test_every_block_is_checked_or_says_why_it_is_not_run(document: Path) -> None:
    assert [block.text for block in blocks(document) if not block.reason and block.kind not in CHECKED] == []


def test_settings_of_the_documents_exist() -> None:
    settings, variables = ROOT / "config/release.toml", (ROOT / ".env.example").read_text()
    # Settings that the sample does not use are comments there.
    known = {*leaves(tomllib.loads(re.sub(r"^# (?=\w+ = )", "", settings.read_text(), flags=re.M)))}
    for block in BLOCKS:
        if block.kind == "toml":
            assert {*leaves(tomllib.loads(block.text))} <= known, block.text
        if block.kind == "dotenv":
            for name in re.findall(r"^(\w+)=", block.text, re.M):
                assert re.search(rf"^(# )?{name}=", variables, re.M), name


def leaves(table: dict[str, Any], above: str = "") -> Iterator[str]:
    """Yield the settings of a table by their whole names."""
    for name, value in table.items():
        if isinstance(value, dict) and name != "env":
            yield from leaves(value, f"{above}{name}.")
        else:
            yield above + name


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "docs/own-model.md"], ids=short_name)
def test_paths_and_links_lead_somewhere(document: Path) -> None:
    text = document.read_text()
    assert [path for path in PATH.findall(text) if not (ROOT / path).exists() and path not in OWN] == []
    for place, heading in LINK.findall(text):
        target = (document.parent / place).resolve() if place else document
        assert target.exists(), place
        if heading:
            names = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
            assert heading in [re.sub(r"[^\w -]", "", name).lower().replace(" ", "-") for name in names]


def test_the_tests_that_show_reliability_exist() -> None:
    rows = re.findall(r"`(tests/\w+\.py)`(?:: (\w+))?(?:, (\w+))?", (ROOT / "docs/reliability.md").read_text())
    assert rows
    for file, *words in rows:
        names = re.findall(r"(?:def|class) (\w+)", (ROOT / file).read_text())
        assert all(any(word in name for name in names) for word in words), (file, words)


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 200


@pytest.mark.parametrize(("index", "documents"), [("README.md", "docs/*.md"), ("docs/decisions/README.md", "0*.md")])
def test_every_document_is_listed(index: str, documents: str) -> None:
    path = ROOT / index
    listed = {path.parent / place for place, _heading in LINK.findall(path.read_text())}
    assert {*path.parent.glob(documents)} - listed == set()


@pytest.mark.parametrize(
    "arguments", ["why nothing", "doctor --format xml", "train --on moon", "test --service x", "ci"]
)
def test_wrong_values_exit_with_2(clone: Project, arguments: str) -> None:
    clone.invoke(*arguments.split(), expect=2)


def test_a_file_that_cannot_be_read_exits_with_1(clone: Project) -> None:
    clone.invoke("comment", "none.md", expect=1)
