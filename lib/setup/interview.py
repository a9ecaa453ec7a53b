"""The first part of `invoke setup`: ask for missing settings, and write the answers to .env and config/."""

import contextlib
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

from lib import platforms
from lib.errors import SettingsError
from lib.settings.editing import DOTENV, SettingsFiles
from lib.settings.questions import Answers, Question, Setting, Topic, one_of
from lib.terminal import prompts


def run(root: Path, ask: bool) -> None:
    """Ask for each missing setting, and write the answers. Without a terminal, or `ask`, only create .env.

    The answers of a topic are written together, so that an interruption loses the answers of one topic at most.
    """
    try:
        files = SettingsFiles(root)
    except SettingsError:
        return  # a broken file cannot be edited; the checks that follow report it
    if not (ask and sys.stdin.isatty() and sys.stdout.isatty()):
        _report(files.write({}))
        return
    for topic in _topics(root):
        if answers := _answers(topic):
            _report(SettingsFiles(root).write(answers))


def plan(root: Path) -> Iterator[str]:
    """Yield what `run` would create, and the first question of each topic. Changes nothing."""
    try:
        SettingsFiles(root)
    except SettingsError:
        return
    if not (root / DOTENV).exists():
        yield f"would create {DOTENV}"
    for topic in _topics(root):
        with contextlib.suppress(StopIteration):
            yield f"would ask: {next(topic.questions).text}"


def _topics(root: Path) -> Iterator[Topic]:
    # The platform's topics are known only when the answer to the first has been written: hence a generator.
    yield Topic("", _platform(SettingsFiles(root)))
    files = SettingsFiles(root)
    name = files.variable("PLATFORM")
    if name in platforms.PLATFORMS:
        yield from platforms.topics(name, files)


def _platform(files: SettingsFiles) -> Generator[Question, str, Answers]:
    if files.variable("PLATFORM") in platforms.PLATFORMS:
        return {}
    text = "Where releases run: local (this machine) or azureml (Azure Machine Learning)"
    return {Setting(DOTENV, "PLATFORM"): (yield Question(text, one_of(platforms.PLATFORMS), "local"))}


def _answers(topic: Topic) -> Answers:
    reply = None
    try:
        while True:
            question = topic.questions.send(reply)  # type: ignore[arg-type]  # the first value sent must be None
            if reply is None and topic.about:
                print(topic.about)
            reply = prompts.answer(question)
    except StopIteration as end:
        answers: Answers = end.value
        return answers


def _report(names: list[str]) -> None:
    if names:
        print(f"Written: {', '.join(names)}")
