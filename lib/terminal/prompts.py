"""Ask whoever sits at the terminal: before something is stopped or removed, and for what only they can say."""

import sys
from typing import TYPE_CHECKING

from lib.errors import RefusedError

if TYPE_CHECKING:
    from lib.settings.questions import Question


def confirmed(done: str, plan: list[str], yes: bool, production: str = "") -> bool:
    """Show a plan, and ask unless it was said beforehand; a service in production must be named.

    Raises RefusedError where nobody can be asked.
    """
    print("\n".join([f"To be {done}:", *(f"  {line}" for line in plan)]) if plan else f"Nothing to be {done}")
    if not plan or (yes and not production):
        return bool(plan)
    if not sys.stdin.isatty():
        flags = "--yes --production" if production else "--yes"
        raise RefusedError(f"nobody can be asked here\nAdd {flags} if this is what you want")
    if production:
        return typed(f"{production} is in production. Type its name to go on: ") == production
    return asked("Go on?")


def asked(question: str) -> bool:
    """Ask a question; nobody there is a no."""
    return sys.stdin.isatty() and typed(f"\n{question} [y/N] ").lower() in ("y", "yes")


def answered(question: "Question") -> str:
    """Ask until an answer is right; Enter takes what is proposed. Nothing of a secret is shown."""
    proposed = f" [{question.proposed}]" if question.proposed else ""
    while True:
        answer = typed(f"{question.text}{proposed}: ", question.secret) or question.proposed
        try:
            return question.rule(answer)
        except ValueError as error:
            print(f"  {error}")


def typed(prompt: str, secret: bool = False) -> str:
    """Return a line that is typed; the end of input (Ctrl-D) interrupts as Ctrl-C does."""
    import getpass

    try:
        return (getpass.getpass(prompt) if secret else input(prompt)).strip()
    except (EOFError, KeyboardInterrupt):
        print()
        raise KeyboardInterrupt from None
