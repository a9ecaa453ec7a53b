"""Check a file against a schema: its columns, its rows, their values, and how these are distributed.

A schema is a list of columns, the target last.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from table import Table, TableError, read

FEWEST_ROWS = 100
REPEATED = 0.05  # the share of rows that may repeat another one
# A mean may be off by DRIFT of the std, the std by DRIFT of itself, a correlation by CORRELATION_DRIFT; to each comes
# what chance does to a sample of some rows: SIGMAS / sqrt(rows).
DRIFT, CORRELATION_DRIFT, SIGMAS = 0.2, 0.1, 4.0
SHOWN, WIDTH = 3, 12  # rows of a fault, and characters of a cell, that are shown

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Column(NamedTuple):
    """What a column may hold, and how it is distributed where nothing has drifted."""

    name: str
    kind: type[float] | type[int]  # int where only whole numbers are right
    low: float
    high: float
    mean: float
    std: float
    correlation: float  # with the target: what tells columns apart that have the same range
    values: tuple[float, ...] = ()  # the only right ones, where they are few
    missing: float = 0.0  # the share of rows that may have none; these rows are left out

    def right(self, numbers: Array) -> Mask:
        """Tell which numbers this column may hold."""
        found: Mask = (numbers >= self.low) & (numbers <= self.high)
        if self.kind is int:
            found &= numbers == np.round(numbers)
        if self.values:
            found &= np.isclose(numbers[:, None], self.values).any(axis=1)
        return found

    def __str__(self) -> str:
        if self.values:
            return " or ".join(map(str, self.values))
        return f"{'a whole number, ' if self.kind is int else ''}{self.low:g} to {self.high:g}"


class Fault(NamedTuple):
    """What does not fit the schema: where, what was found, and what is right."""

    column: str
    rows: str
    found: str
    expected: str


class DataError(ValueError):
    """Data that must not be trained on. The message is a table of all faults, and a last line that sums them up."""

    def __init__(self, file: str, faults: list[Fault]) -> None:
        lines = [Fault("column", "rows", "found", "expected"), *faults]
        widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
        table = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
        columns = ", ".join(dict.fromkeys(fault.column for fault in faults))
        super().__init__("\n".join([*table, f"{file} is refused: {count} in {columns}"]))


def checked(path: Path, schema: list[Column]) -> Table:
    """Read a .csv or .parquet file that fits a schema. Raises DataError with every fault."""
    try:
        table = read(path)
    except TableError as error:
        raise DataError(path.name, [Fault("the file", "", str(error), f"a whole {path.suffix} file")]) from None
    if faults := [*column_faults(table, schema)] or [*row_faults(table, schema)]:
        raise DataError(path.name, faults)
    return table


def column_faults(table: Table, schema: list[Column]) -> Iterator[Fault]:
    """Yield columns that are missing, unknown or there twice. Their order is of no account."""
    expected = [column.name for column in schema]
    for name in dict.fromkeys(expected + table.names):
        found = table.names.count(name)
        if found != expected.count(name):
            yield Fault(name, "", f"{found} columns" if found else "no column", "one" if name in expected else "none")


def row_faults(table: Table, schema: list[Column]) -> Iterator[Fault]:
    """Yield what is wrong with the rows, with their values, and with how these are distributed where all are right."""
    target = schema[-1].name
    count = len(table.numbers[target])
    if count < FEWEST_ROWS:
        yield Fault("all columns", "", f"{count} rows", f"{FEWEST_ROWS} or more")
        return
    if len(table.repeated) > REPEATED * count:
        yield Fault("all columns", shown(table.repeated), "as in an earlier row", f"{REPEATED:.0%} of rows at most")
    for column in schema:
        yield from [*value_faults(column, table)] or drift_faults(column, table, target)


def value_faults(column: Column, table: Table) -> Iterator[Fault]:
    """Yield what is wrong with a column's values."""
    texts, numbers = table.texts[column.name], table.numbers[column.name]
    empty, known = np.array([not text for text in texts]), np.isfinite(numbers)
    few = f"{column.missing:.0%} empty at most" if column.missing else "a value"
    wrong = {
        few: empty & (empty.mean() > column.missing),
        "a number": ~known & ~empty,
        str(column): known & ~column.right(numbers),
    }
    for expected, where in wrong.items():
        if len(rows := np.flatnonzero(where)):
            found = ", ".join(dict.fromkeys(texts[row][:WIDTH] or "empty" for row in rows[:SHOWN]))
            yield Fault(column.name, shown(rows), found, expected)


def drift_faults(column: Column, table: Table, target: str) -> Iterator[Fault]:
    """Yield in what a column has drifted, beyond what chance does to as many rows."""
    numbers, outcome = table.numbers[column.name], table.numbers[target]
    whole = np.isfinite(numbers) & np.isfinite(outcome)
    if not whole.any():
        return
    chance = SIGMAS / np.sqrt(whole.sum())
    found = {"mean": np.mean(numbers[whole]), "std": np.std(numbers[whole])}
    if np.ptp(numbers[whole]) > 0 and np.ptp(outcome[whole]) > 0:  # a constant has no correlation
        found["correlation"] = np.corrcoef(numbers[whole], outcome[whole])[0, 1]
    for name, value in found.items():
        expected = getattr(column, name)
        tolerance = CORRELATION_DRIFT + chance if name == "correlation" else (DRIFT + chance) * column.std
        if abs(value - expected) > tolerance:
            yield Fault(column.name, "all", f"{name} {value:.3g}", f"{expected:g} ± {tolerance:.2g}")


def shown(rows: Sequence[int] | NDArray[np.int64]) -> str:
    """Name the first rows, counted from 1."""
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return ", ".join(str(row + 1) for row in rows[:SHOWN]) + more
