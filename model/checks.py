"""Check a file against a schema: its columns, rows and values, and the distribution of the values.

A schema is a list of columns, the target last.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from table import Table, TableError, read

FEWEST_ROWS = 100
REPEATED = 0.05  # the largest share of rows that repeat an earlier row
# The tolerances: DRIFT times the std for a mean and a std, CORRELATION_DRIFT for a correlation. To each is added what
# chance does to a sample: SIGMAS / sqrt(rows).
DRIFT, CORRELATION_DRIFT, SIGMAS = 0.2, 0.1, 4.0
MOST_ROWS, WIDTH = 3, 12  # the rows of a fault, and the characters of a cell, that a message shows

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Column(NamedTuple):
    """The valid values of a column, and their distribution in good data."""

    name: str
    kind: type[float] | type[int] | type[str]  # int if only whole numbers are valid, str for text
    low: float = -np.inf  # this and the next four are for numbers
    high: float = np.inf
    mean: float = 0.0
    std: float = 0.0
    correlation: float = 0.0  # with the target; it notices columns with the same range that changed places
    values: tuple[float, ...] | tuple[str, ...] = ()  # the only valid values, if they are few
    missing: float = 0.0  # the largest share of rows without a value; `load` drops these rows

    def accepts(self, numbers: Array) -> Mask:
        """Return which numbers are valid."""
        mask: Mask = (numbers >= self.low) & (numbers <= self.high)
        if self.kind is int:
            mask &= numbers == np.round(numbers)
        if self.values:
            mask &= np.isclose(numbers[:, None], np.asarray(self.values, dtype=float)).any(axis=1)
        return mask

    def accepts_text(self, texts: Sequence[str]) -> Mask:
        """Return which texts are valid."""
        return np.array([not self.values or text in self.values for text in texts], dtype=bool)

    def __str__(self) -> str:
        if self.values:
            return " or ".join(map(str, self.values))
        return f"{'a whole number, ' if self.kind is int else ''}{self.low:g} to {self.high:g}"


class Fault(NamedTuple):
    """A fault of the data: its column and rows, the value there, and the rule that the value breaks."""

    column: str
    rows: str
    value: str
    rule: str


class DataError(ValueError):
    """The data are not good enough to train on. The message is a table of all faults, and a line with their number."""

    def __init__(self, file: str, faults: list[Fault]) -> None:
        lines = [Fault("column", "rows", "found", "expected"), *faults]
        widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
        table = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
        columns = ", ".join(dict.fromkeys(fault.column for fault in faults))
        super().__init__("\n".join([*table, f"{file} is refused: {count} in {columns}"]))


def read_checked(path: Path, schema: list[Column]) -> Table:
    """Read a .csv or .parquet file, and check it against a schema. Raises DataError with every fault."""
    try:
        table = read(path)
    except TableError as error:
        raise DataError(path.name, [Fault("the file", "", str(error), f"a valid {path.suffix} file")]) from None
    if faults := [*_column_faults(table, schema)] or [*_row_faults(table, schema)]:
        raise DataError(path.name, faults)
    return table


def _column_faults(table: Table, schema: list[Column]) -> Iterator[Fault]:
    """Yield columns that are missing, unknown or duplicated; their order does not matter."""
    names = [column.name for column in schema]
    for name in dict.fromkeys(names + table.names):
        count = table.names.count(name)
        if count != names.count(name):
            rule = "one" if name in names else "none" if name else "none (pandas writes its index: index=False)"
            yield Fault(name or "(no name)", "", f"{count} columns" if count else "no column", rule)


def _row_faults(table: Table, schema: list[Column]) -> Iterator[Fault]:
    """Yield faults of the rows and of their values, and, for each column with valid values only, its drift."""
    count = len(table.numbers[schema[-1].name])
    if count < FEWEST_ROWS:
        yield Fault("all columns", "", f"{count} rows", f"{FEWEST_ROWS} or more")
        return
    if len(table.repeated) > REPEATED * count:
        yield Fault(
            "all columns", _row_numbers(table.repeated), "as in an earlier row", f"{REPEATED:.0%} of rows at most"
        )
    for column in schema:
        faults = list(_value_faults(column, table))
        yield from faults or (() if column.kind is str else _drift_faults(column, table, schema[-1]))


def _value_faults(column: Column, table: Table) -> Iterator[Fault]:
    texts, numbers = table.texts[column.name], table.numbers[column.name]
    empty, numeric = np.array([not text for text in texts]), np.isfinite(numbers)
    few = f"{column.missing:.0%} empty at most" if column.missing else "a value"
    wrong = {few: empty & (empty.mean() > column.missing)}
    if column.kind is str:
        wrong[str(column)] = ~empty & ~column.accepts_text(texts)
    else:
        wrong |= {"a number": ~numeric & ~empty, str(column): numeric & ~column.accepts(numbers)}
    for rule, mask in wrong.items():
        if len(rows := np.flatnonzero(mask)):
            values = ", ".join(dict.fromkeys(texts[row][:WIDTH] or "empty" for row in rows[:MOST_ROWS]))
            yield Fault(column.name, _row_numbers(rows), values, rule)


def _drift_faults(column: Column, table: Table, target: Column) -> Iterator[Fault]:
    """Yield the statistics of a column that differ from the schema by more than the tolerance."""
    numbers, outcome = table.numbers[column.name], table.numbers[target.name]
    if target.kind is str:  # labels have no correlation
        outcome = np.zeros(len(numbers))
    complete = np.isfinite(numbers) & np.isfinite(outcome)
    if not complete.any():
        return
    numbers, outcome = numbers[complete], outcome[complete]
    chance = SIGMAS / np.sqrt(len(numbers))
    statistics = {"mean": np.mean(numbers), "std": np.std(numbers)}
    if np.ptp(numbers) > 0 and np.ptp(outcome) > 0:  # a constant has no correlation
        statistics["correlation"] = np.corrcoef(numbers, outcome)[0, 1]
    for name, value in statistics.items():
        reference = getattr(column, name)
        tolerance = CORRELATION_DRIFT + chance if name == "correlation" else (DRIFT + chance) * column.std
        if abs(value - reference) > tolerance:
            yield Fault(column.name, "all", f"{name} {value:.3g}", f"{reference:g} ± {tolerance:.2g}")


def _row_numbers(rows: Sequence[int] | NDArray[np.int64]) -> str:
    # People count rows from 1.
    more = f" and {len(rows) - MOST_ROWS} more" if len(rows) > MOST_ROWS else ""
    return ", ".join(str(row + 1) for row in rows[:MOST_ROWS]) + more
