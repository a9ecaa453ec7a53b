"""Elements of SVG plots. x is in percent of the width, so that a plot fits every screen without scaling its text."""

import itertools
import math
from collections.abc import Iterator, Sequence

import msgspec

TICKS = 5
MINUS = "\N{MINUS SIGN}"


class Mark(msgspec.Struct, frozen=True):
    """An element of SVG."""

    tag: str
    attributes: dict[str, str | float]
    text: str = ""


class Plot(msgspec.Struct, frozen=True):
    """A plot; `alt` describes it in words. `height` and `left`, the space for the y axis' labels, are in pixels."""

    height: int
    marks: list[Mark]
    alt: str
    left: int = 0
    x_title: str = ""
    y_title: str = ""


class Axis(msgspec.Struct, frozen=True):
    """An axis from `low` to `high`; `length` is in percent for x, in pixels for y."""

    low: float
    high: float
    length: float = 100

    def at(self, value: float) -> float:
        """Return the position of a value."""
        return round((value - self.low) / (self.high - self.low) * self.length, 2)

    def down(self, value: float) -> float:
        """Return the position of a value on a y axis: SVG counts pixels from the top."""
        return round(self.length - self.at(value), 2)

    @property
    def ticks(self) -> list[float]:
        """About five round values."""
        raw = (self.high - self.low) / TICKS
        unit = 10.0 ** math.floor(math.log10(raw))
        step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [round(index * step, 12) for index in range(first, last + 1)]


def around(values: Sequence[float], length: float = 100, margin: float = 0.06) -> Axis:
    """Return an axis that contains all values, with a margin on both sides."""
    low, high = min(values), max(values)
    space = (high - low) * margin or abs(high) * margin or 1.0  # equal values, or only zeros, need a range, too
    return Axis(low - space, high + space, length)


def number(value: float, digits: int = 6) -> str:
    """Format a number."""
    # Adding 0.0 turns -0.0 into 0.0.
    return f"{value + 0.0:,.{digits}g}".replace("-", MINUS)


def signed(value: float) -> str:
    """Format a difference, with its sign."""
    return ("+" if value > 0 else "") + number(value, 4)


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> Mark:
    """Draw a line."""
    return Mark("line", {"x1": f"{x1}%", "y1": y1, "x2": f"{x2}%", "y2": y2, "class": style})


def dot(x: float, y: float, radius: float, style: str) -> Mark:
    """Draw a dot."""
    return Mark("circle", {"cx": f"{x}%", "cy": y, "r": radius, "class": style})


def box(x: float, y: float, width: float, height: float, style: str) -> Mark:
    """Draw a rectangle."""
    return Mark("rect", {"x": f"{x}%", "y": y, "width": f"{round(width, 2)}%", "height": height, "class": style})


def label(x: float, y: float, text: str, style: str = "label", anchor: str = "") -> Mark:
    """Draw text. Near an edge of the plot it extends towards the middle, so that the edge does not cut it off."""
    anchor = anchor or ("start" if x < 8 else "end" if x > 92 else "middle")  # noqa: PLR2004 - percent
    return Mark("text", {"x": f"{x}%", "y": y, "text-anchor": anchor, "class": style}, text)


def across(axis: Axis, height: float, grid: bool = True) -> Iterator[Mark]:
    """Draw an x axis with its ticks."""
    for tick in axis.ticks:
        if grid:
            yield line(axis.at(tick), 0, axis.at(tick), height, "grid")
        yield label(axis.at(tick), height + 18, number(tick), "tick", "middle")
    yield line(0, height, 100, height, "axis")


def upwards(axis: Axis) -> Iterator[Mark]:
    """Draw the grid and the ticks of a y axis."""
    for tick in axis.ticks:
        yield line(0, axis.down(tick), 100, axis.down(tick), "grid")
        mark = label(0, axis.down(tick) + 4, number(tick), "tick", "end")
        yield Mark(mark.tag, mark.attributes | {"dx": -8}, mark.text)


def path(points: list[tuple[float, float]], style: str = "path") -> Iterator[Mark]:
    """Connect points by lines."""
    for (x1, y1), (x2, y2) in itertools.pairwise(points):
        yield line(x1, y1, x2, y2, style)
