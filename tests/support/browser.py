"""A page in a real browser: its elements, and a picture of it."""

import subprocess
import tempfile
from pathlib import Path

from PIL import Image, ImageStat

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
    """A screenshot: what can be seen in it without a person."""

    def __init__(self, path: Path) -> None:
        self.image = Image.open(path).convert("RGB")
        self.width = self.image.width

    @property
    def brightness(self) -> float:
        """The mean, from 0 (black) to 255 (white)."""
        return sum(ImageStat.Stat(self.image).mean) / 3

    @property
    def colours(self) -> int:
        """The number of different colours."""
        return colours(self.image)

    def blank_at_the_right(self, pixels: int) -> bool:
        """Tell whether nothing but the background is at the right edge."""
        width, height = self.image.size
        return colours(self.image.crop((width - pixels, 0, width - 1, height))) == 1


def colours(image: Image.Image) -> int:
    """Return how many different colours an image has."""
    return len(image.getcolors(maxcolors=image.width * image.height) or ())


def browse(page: Path, *flags: str) -> bytes:
    """Open a file in the browser, and return what it prints."""
    with tempfile.TemporaryDirectory() as profile:
        command = [needed("chromium"), *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
        return subprocess.run(command, check=True, capture_output=True, timeout=LIMIT_S).stdout


def dom(page: Path) -> str:
    """Return the document that the browser has made of a page."""
    return browse(page, "--dump-dom").decode()


def look(page: Path, picture: Path, width: int = 1000, height: int = 1200, dark: bool = False) -> Picture:
    """Take a picture of a page, at half of its size: enough to see what is where."""
    browse(
        page,
        "--force-device-scale-factor=0.5",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        f"--window-size={width},{height}",
        f"--screenshot={picture}",
    )
    return Picture(picture)
