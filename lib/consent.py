"""Ask whoever sits at the terminal before something is stopped, removed or cancelled."""

import sys

from lib.errors import RefusedError


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
        return input(f"{production} is in production. Type its name to go on: ").strip() == production
    return asked("Go on?")


def asked(question: str) -> bool:
    """Ask a question; nobody there is a no."""
    return sys.stdin.isatty() and input(f"\n{question} [y/N] ").strip().lower() == "y"
