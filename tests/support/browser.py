"""A page in a real browser: what it made of it, and how it looks."""

import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from tests.support.machine import needed

LIMIT_S = 120
FLAGS = [
    "--headless",
    "--no-sandbox",  # CI works as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


class Picture:
    """A screenshot, as its rows of bytes: red, green and blue for each pixel."""

    def __init__(self, png: bytes) -> None:
        self.width, self.height, depth, colour = (
            int.from_bytes(png[16:20]),
            int.from_bytes(png[20:24]),
            png[24],
            png[25],
        )
        assert (depth, colour) == (8, 2), "not eight bits of red, green and blue"
        self.rows = list(unfiltered(zlib.decompress(b"".join(data(png))), self.width * 3))

    @property
    def brightness(self) -> float:
        """The mean, from 0 (black) to 255 (white)."""
        return sum(map(sum, self.rows)) / (self.width * self.height * 3)

    @property
    def colours(self) -> int:
        """How many colours there are."""
        return len({row[place : place + 3] for row in self.rows for place in range(0, len(row), 3)})

    def blank_at_the_right(self, pixels: int) -> bool:
        """Tell whether nothing but the background is at the right edge."""
        return len({row[place : place + 3] for row in self.rows for place in range(-pixels * 3, -3, 3)}) == 1


def data(png: bytes) -> Iterator[bytes]:
    """Yield the parts of a PNG's image data."""
    place = 8
    while place < len(png):
        length = int.from_bytes(png[place : place + 4])
        if png[place + 4 : place + 8] == b"IDAT":
            yield png[place + 8 : place + 8 + length]
        place += length + 12


def unfiltered(content: bytes, width: int) -> Iterator[bytes]:
    """Yield the rows of a picture, as they were before PNG filtered them by their neighbours."""
    above = bytearray(width)
    for start in range(0, len(content), width + 1):
        kind, row = content[start], bytearray(content[start + 1 : start + 1 + width])
        for place in range(width):
            left = row[place - 3] if place > 2 else 0
            corner = above[place - 3] if place > 2 else 0
            row[place] = (row[place] + guess(kind, left, above[place], corner)) & 255
        yield bytes(row)
        above = row


def guess(kind: int, left: int, up: int, corner: int) -> int:
    """Return what a filter took from a byte."""
    if kind == 4:
        return min((left, up, corner), key=lambda one: abs(left + up - corner - one))
    return (0, left, up, (left + up) // 2)[kind]


def browse(page: Path, *flags: str) -> bytes:
    """Open a file in the browser, and return what it prints."""
    with tempfile.TemporaryDirectory() as profile:
        command = [needed("chromium"), *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
        return subprocess.run(command, check=True, capture_output=True, timeout=LIMIT_S).stdout


def dom(page: Path) -> str:
    """Return the document that the browser has made of a page."""
    return browse(page, "--dump-dom").decode()


def look(page: Path, picture: Path, width: int = 1000, height: int = 1200, dark: bool = False) -> Picture:
    """Take a picture of a page, at half of its size: enough to see what is where, and four times as quick to read."""
    browse(
        page,
        "--force-device-scale-factor=0.5",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        f"--window-size={width},{height}",
        f"--screenshot={picture}",
    )
    return Picture(picture.read_bytes())
