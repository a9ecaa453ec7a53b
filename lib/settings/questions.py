"""Questions of `invoke setup`: their texts, the rules for valid answers, and the settings they belong to."""

import re
from collections.abc import Callable, Generator, Iterable
from typing import NamedTuple

Rule = Callable[[str], str]


class Setting(NamedTuple):
    """A setting: its file, and its name there; dots separate sections."""

    file: str
    name: str


Answers = dict[Setting, str]


class Question(NamedTuple):
    """A question. `rule` returns the answer as the file will have it, or raises ValueError with the problem."""

    text: str
    rule: Rule
    proposed: str = ""
    secret: bool = False


class Topic(NamedTuple):
    """Questions whose answers are written together. The generator yields them, and returns the settings to write.

    `setup` prints `about` before the first question, and nothing if there is no question.
    """

    about: str
    questions: Generator[Question, str, Answers]


def like(pattern: str, description: str) -> Rule:
    """Return a rule for answers that match a pattern; `description` says in words which these are."""

    def rule(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{value!r} must be {description}")
        return value

    return rule


def one_of(values: Iterable[str]) -> Rule:
    """Return a rule for answers in a list."""
    return like("|".join(map(re.escape, values)), f"one of {', '.join(values)}")


def optional(rule: Rule) -> Rule:
    """Return the rule, but for an empty answer, which is valid, too."""
    return lambda value: rule(value) if value else value


def secret(value: str) -> str:
    """Return a printable answer. The error does not repeat it."""
    if not value or not value.isprintable():
        raise ValueError("it must be one or more printable characters")
    return value


def holds(rule: Rule, value: str) -> bool:
    """Return whether a value is valid."""
    try:
        rule(value)
    except ValueError:
        return False
    return True
