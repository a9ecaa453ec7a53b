"""What only a person can say: questions, the rules for their answers, and where these belong."""

import re
from collections.abc import Callable, Generator, Iterable
from typing import NamedTuple

Rule = Callable[[str], str]


class Setting(NamedTuple):
    """A setting: the file that holds it, and its name there, with dots where it is in a section."""

    file: str
    name: str


Answers = dict[Setting, str]


class Question(NamedTuple):
    """One question. The rule returns the answer as it will be written, or raises ValueError that says what is wrong."""

    text: str
    rule: Rule
    proposed: str = ""
    secret: bool = False


class Topic(NamedTuple):
    """Questions that belong together: each is sent its answer, and what they return is written as a whole.

    `about` is said before the first question; where nothing is left to ask, nothing is said.
    """

    about: str
    questions: Generator[Question, str, Answers]


def like(pattern: str, said: str) -> Rule:
    """Return a rule for what a pattern matches as a whole; `said` describes it in words."""

    def rule(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{value!r} must be {said}")
        return value

    return rule


def one_of(values: Iterable[str]) -> Rule:
    """Return a rule for one of some words."""
    return like("|".join(map(re.escape, values)), f"one of {', '.join(values)}")


def optional(rule: Rule) -> Rule:
    """Return a rule that takes nothing for an answer, too."""
    return lambda value: rule(value) if value else value


def secret(value: str) -> str:
    """Take what can be written in a line; what was typed is not repeated."""
    if not value or not value.isprintable():
        raise ValueError("it must be one or more printable characters")
    return value


def holds(rule: Rule, value: str) -> bool:
    """Tell whether a value meets a rule."""
    try:
        rule(value)
    except ValueError:
        return False
    return True
