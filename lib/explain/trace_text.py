"""What serves, in words and for machines."""

from collections.abc import Iterator
from typing import Any

import msgspec

from lib.explain.trace import Link
from lib.terminal.progress import coloured

WIDTH = 13


def as_json(links: list[Link]) -> str:
    """Tell all of it for machines, link by link."""
    told = {link.link: link for link in links}
    return msgspec.json.format(msgspec.json.encode(told), indent=2).decode()


def as_text(links: list[Link]) -> str:
    """Tell it for people: from the service back to what it was made of."""
    return "\n".join(line for link in links for line in block(link))


def block(link: Link) -> Iterator[str]:
    """Tell one link: what it is, what is known of it, and what is wrong with it."""
    word = coloured("  broken", "failed") if link.faults else coloured("  ok", "done") if link.checked else ""
    yield f"{link.link:<{WIDTH}}{link.id}{word}"
    for name, value in link.facts.items():
        if value not in ("", None):
            yield f"{'':<{WIDTH}}{name.replace('_', ' ')}: {shown(value)}"
    for fault in link.faults:
        yield f"{'':<{WIDTH}}{coloured(fault, 'failed')}"


def shown(value: Any) -> str:
    """Write what is known in one line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
