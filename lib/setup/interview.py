"""Ask a person for what a release cannot know, and write the answers where they belong: how `invoke setup` begins."""

import sys
from collections.abc import Generator, Iterator
from pathlib import Path

from lib import platforms
from lib.errors import SettingsError
from lib.settings.editing import DOTENV, SettingsFiles
from lib.settings.questions import Answers, Question, Setting, Topic, one_of
from lib.terminal import prompts


def hold(root: Path, ask: bool) -> None:
    """Ask for what is not said yet; with nobody to ask, .env is made with what holds without a word.

    What was answered is written topic by topic, so an interruption loses at most the topic it falls into.
    """
    try:
        files = SettingsFiles(root)
    except SettingsError:
        return  # nothing can be written into what cannot be read; the checks tell what it is
    if not (ask and sys.stdin.isatty() and sys.stdout.isatty()):
        note(files.write({}))
        return
    for topic in topics(root):
        if answers := answers_to(topic):
            note(SettingsFiles(root).write(answers))


def topics(root: Path) -> Iterator[Topic]:
    """Give the topics one after the other: what the platform asks depends on which it is."""
    yield Topic("", platform(SettingsFiles(root)))
    files = SettingsFiles(root)
    name = files.variable("PLATFORM")
    if name in platforms.PLATFORMS:
        yield from platforms.topics(name, files)


def platform(files: SettingsFiles) -> Generator[Question, str, Answers]:
    """Ask for the platform."""
    if files.variable("PLATFORM") in platforms.PLATFORMS:
        return {}
    text = "Where releases run: local (this machine) or azureml (Azure Machine Learning)"
    return {Setting(DOTENV, "PLATFORM"): (yield Question(text, one_of(platforms.PLATFORMS), "local"))}


def answers_to(topic: Topic) -> Answers:
    """Ask the questions of a topic and return what is to be written."""
    answer = None
    try:
        while True:
            question = topic.questions.send(answer)  # type: ignore[arg-type]  # a generator begins with None
            if answer is None and topic.about:
                print(topic.about)
            answer = prompts.answer(question)
    except StopIteration as end:
        answers: Answers = end.value
        return answers


def note(written: list[str]) -> None:
    """Say which files were written."""
    if written:
        print(f"Written: {', '.join(written)}")
