"""Read a .csv or .parquet file, every cell as its text and as the number that it is, if it is one."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Row = tuple[str, ...]


class TableError(ValueError):
    """The file is no table; the message says why and where."""


class Table(NamedTuple):
    """A file by the names of its columns; rows count from 0."""

    names: list[str]
    texts: dict[str, Row]  # empty where a cell is
    numbers: dict[str, NDArray[np.float64]]  # NaN where a cell holds none
    repeated: list[int]  # the rows that are like an earlier one


def read(path: Path) -> Table:
    """Read a file with a row of names and rows of as many cells. Raises TableError where it is none."""
    lines = from_parquet(path) if path.suffix == ".parquet" else from_csv(path)
    names, *rows = [tuple(cell.strip() for cell in line) for line in lines]
    texts = dict(zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True))
    numbers = {name: np.array([number(cell) for cell in cells], dtype=float) for name, cells in texts.items()}
    first: dict[Row, int] = {}
    repeated = [place for place, row in enumerate(rows) if first.setdefault(row, place) != place]
    return Table(list(names), texts, numbers, repeated)


def from_csv(path: Path) -> Iterator[list[str]]:
    """Yield the lines of a file in UTF-8, its cells separated by commas. Blank lines are no rows."""
    import csv

    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file, strict=True)
        width = 0
        try:
            for line in lines:
                width = width or len(line)
                if line and len(line) != width:
                    raise TableError(f"line {lines.line_num}: {len(line)} cells, the first line has {width}")
                if line:
                    yield line
        except (csv.Error, UnicodeDecodeError) as error:
            raise TableError(f"after line {lines.line_num}: {error}") from None
    if not width:
        raise TableError("it is empty")


def from_parquet(path: Path) -> Iterator[list[str]]:
    """Yield the names of the columns, then each row as text."""
    import duckdb  # only here, for it takes a moment

    try:
        with duckdb.connect(config={"autoinstall_known_extensions": False}) as database:
            database.execute("SET enable_progress_bar = false")
            found = database.execute("SELECT COLUMNS(*)::VARCHAR FROM read_parquet(?)", [str(path)])
            yield [column[0] for column in found.description]
            for row in found.fetchall():
                yield ["" if cell is None else cell for cell in row]
    except duckdb.Error as error:
        raise TableError(str(error).splitlines()[0]) from None


def number(text: str) -> float:
    """Return a text's number, NaN where it is none."""
    try:
        return float(text)
    except ValueError:
        return np.nan
