"""Read a .csv or .parquet file, each cell as text and as a number."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Row = tuple[str, ...]


class TableError(ValueError):
    """The file is not a table. The message says why, and where."""


class Table(NamedTuple):
    """The cells of a file, by column; rows count from 0."""

    names: list[str]
    texts: dict[str, Row]  # "" for an empty cell
    numbers: dict[str, NDArray[np.float64]]  # NaN for a cell without a number
    repeated: list[int]  # the rows that are equal to an earlier row


def read(path: Path) -> Table:
    """Read a file with a header and rows of the same length. Raises TableError if it is not a table."""
    lines = _from_parquet(path) if path.suffix == ".parquet" else _from_csv(path)
    names, *rows = [tuple(cell.strip() for cell in line) for line in lines]
    texts = dict(zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True))
    numbers = {name: np.array([_number(cell) for cell in cells], dtype=float) for name, cells in texts.items()}
    first: dict[Row, int] = {}
    repeated = [index for index, row in enumerate(rows) if first.setdefault(row, index) != index]
    return Table(list(names), texts, numbers, repeated)


def _from_csv(path: Path) -> Iterator[list[str]]:
    """Yield the lines of a comma-separated file in UTF-8; blank lines are skipped."""
    import csv

    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file, strict=True)
        width = 0
        try:
            for line in lines:
                if not width and len(line) == 1 and (mark := next((each for each in ";\t|" if each in line[0]), "")):
                    raise TableError(f"line 1: cells are separated by {mark!r}, not by commas")
                width = width or len(line)
                if line and len(line) != width:
                    raise TableError(f"line {lines.line_num}: {len(line)} cells, the first line has {width}")
                if line:
                    yield line
        except (csv.Error, UnicodeDecodeError) as error:
            raise TableError(f"after line {lines.line_num}: {error}") from None
    if not width:
        raise TableError("it is empty")


def _from_parquet(path: Path) -> Iterator[list[str]]:
    """Yield the names of the columns, then each row as text. Raises ImportError if duckdb is not installed."""
    try:
        import duckdb  # here, because the import is slow and other files do not need it
    except ImportError:
        raise ImportError(
            f"{path.name} cannot be read without duckdb: "
            "add the line `- duckdb==2.0.1` below `pip:` in config/conda_dependencies.yml"
        ) from None
    try:
        with duckdb.connect(config={"autoinstall_known_extensions": False}) as database:
            database.execute("SET enable_progress_bar = false")
            result = database.execute("SELECT COLUMNS(*)::VARCHAR FROM read_parquet(?)", [str(path)])
            yield [column[0] for column in result.description]
            for row in result.fetchall():
                yield ["" if cell is None else cell for cell in row]
    except duckdb.Error as error:
        raise TableError(str(error).splitlines()[0]) from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan
