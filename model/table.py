"""Read a .csv or .parquet file, every cell as the number that it is, if it is one."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import duckdb

SHOWN = 3


class TableError(ValueError):
    """The file is no table; the message says where."""


class Table(NamedTuple):
    """The columns of a file. Rows count from 0."""

    names: list[str]
    numbers: dict[str, NDArray[np.float64]]  # NaN where a cell is no number
    empty: dict[str, NDArray[np.bool_]]
    texts: dict[str, list[str]]  # the first cells that are neither empty nor a finite number
    repeated: list[int]  # rows that an earlier one equals


def read(path: Path) -> Table:
    """Read a file, at first as text. Raises TableError where it is broken."""
    import duckdb  # only here: who trains on the sample does not wait for it

    try:
        with duckdb.connect(config={"autoinstall_known_extensions": False}) as database:
            return numbered(database, copy(database, path))
    except duckdb.Error as error:
        said = re.split(r"\n\s*(?:Possible|LINE) ", str(error))[0].removeprefix("Invalid Input Error: ")
        raise TableError(re.sub(r"\s*\n\s*", "; ", said)) from None


def copy(database: "duckdb.DuckDBPyConnection", path: Path) -> list[str]:
    """Copy a file into the table `cells` as text, its columns named by their places, and return their names."""
    if path.suffix == ".parquet":
        names = [row[0] for row in database.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(path)]).fetchall()]
        source = "read_parquet(?)"
    else:
        import csv

        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            names = [name.strip() for name in next(csv.reader(file), [])]
        columns = {f"{place}": "VARCHAR" for place in range(len(names))}
        source = f"read_csv(?, auto_detect=false, header=true, delim=',', quote='\"', columns={columns})"
    if not names:
        raise TableError("it is empty")
    places = ", ".join(f'"{place}"' for place in range(len(names)))
    database.execute(f"CREATE TABLE cells({places}) AS SELECT trim(COLUMNS(*)::VARCHAR) FROM {source}", [str(path)])
    return names


def numbered(database: "duckdb.DuckDBPyConnection", names: list[str]) -> Table:
    """Return what is in the table `cells`."""
    texts = [f'"{place}"' for place in range(len(names))]
    numbers = [f"coalesce(TRY_CAST({text} AS DOUBLE), 'nan')" for text in texts]

    def columns(expressions: list[str]) -> dict[str, NDArray[Any]]:
        found = database.execute(f"SELECT {', '.join(expressions)} FROM cells ORDER BY rowid").fetchnumpy()
        return dict(zip(names, found.values(), strict=True))

    def rows(query: str) -> list[Any]:
        return [row[0] for row in database.execute(query).fetchall()]

    again = f"row_number() OVER (PARTITION BY {', '.join(texts)} ORDER BY rowid) > 1"
    return Table(
        names=names,
        numbers=columns(numbers),
        empty=columns([f"coalesce({text}, '') = ''" for text in texts]),
        texts={
            name: rows(
                f"SELECT {text} FROM cells WHERE {text} <> '' AND NOT isfinite({number}) ORDER BY rowid LIMIT {SHOWN}"
            )
            for name, text, number in zip(names, texts, numbers, strict=True)
        },
        repeated=rows(f"SELECT rowid FROM cells QUALIFY {again} ORDER BY rowid"),
    )
