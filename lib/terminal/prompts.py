"""Questions to the person at the terminal: before something is stopped or removed, and for settings."""

import sys
from typing import TYPE_CHECKING

from lib.errors import RefusedError

if TYPE_CHECKING:
    from lib.settings.questions import Question


def confirm(done: str, plan: list[str], yes: bool, production: str = "", dry: bool = False) -> bool:
    """Print a plan, and ask whether to carry it out; `done` is the plan's verb as a participle ("removed").

    `yes` answers in advance, but for a service in production, whose name the user must type. A plan that is empty, or
    `dry`, is not carried out. Raises RefusedError if there is no terminal to ask at.
    """
    print("\n".join([f"To be {done}:", *(f"  {line}" for line in plan)]) if plan else f"Nothing to be {done}")
    if dry or not plan or (yes and not production):
        return bool(plan) and not dry
    if not sys.stdin.isatty():
        flags = "--yes --production" if production else "--yes"
        raise RefusedError(f"there is no terminal to ask for confirmation\nAdd {flags} if this is what you want")
    if production:
        return _read_line(f"{production} is in production. Type its name to continue: ") == production
    return ask("Continue?")


def ask(question: str) -> bool:
    """Ask a yes-or-no question until the answer is one of the two; without a terminal, and for Enter, it is no."""
    if not sys.stdin.isatty():
        return False
    while (text := _read_line(f"\n{question} [y/N] ").lower()) not in ("y", "yes", "n", "no", ""):
        print(f"  {text!r} is neither y (yes) nor n (no)")
    return text in ("y", "yes")


def answer(question: "Question") -> str:
    """Ask until the answer is valid, and return it; Enter takes the proposed answer. Secrets are not echoed."""
    proposed = f" [{question.proposed}]" if question.proposed else ""
    while True:
        text = _read_line(f"{question.text}{proposed}: ", question.secret) or question.proposed
        try:
            return question.rule(text)
        except ValueError as error:
            print(f"  {error}")


def _read_line(prompt: str, secret: bool = False) -> str:
    import getpass

    try:
        return (getpass.getpass(prompt) if secret else input(prompt)).strip()
    except (EOFError, KeyboardInterrupt):  # Ctrl-D and Ctrl-C both interrupt the task
        print()
        raise KeyboardInterrupt from None
