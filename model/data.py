"""The training data: scikit-learn's diabetes sample, or a file, which `load` checks against SCHEMA."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from checks import Array, Column, read_checked
from sklearn.datasets import load_diabetes

# The target comes last. The ranges are those that are possible for people, wider than in the sample, on its scale.
SCHEMA = [
    #       name    kind    low    high   mean  std     correlation
    Column("age", float, -0.15, 0.19, 0.0, 0.0476, 0.19),
    Column("sex", float, -0.05, 0.06, 0.0, 0.0476, 0.04, values=(-0.044642, 0.05068)),
    Column("bmi", float, -0.16, 0.37, 0.0, 0.0476, 0.59),
    Column("bp", float, -0.19, 0.26, 0.0, 0.0476, 0.44),
    Column("s1", float, -0.17, 0.29, 0.0, 0.0476, 0.21),
    Column("s2", float, -0.15, 0.32, 0.0, 0.0476, 0.17),
    Column("s3", float, -0.15, 0.30, 0.0, 0.0476, -0.39),
    Column("s4", float, -0.12, 0.30, 0.0, 0.0476, 0.43),
    Column("s5", float, -0.15, 0.22, 0.0, 0.0476, 0.57),
    Column("s6", float, -0.18, 0.45, 0.0, 0.0476, 0.38),
    Column("target", int, 0, 500, 152.0, 77.0, 1.0),
]


class Rows(NamedTuple):
    """Features of shape (rows, columns) in the order of `columns`, and the target of shape (rows,)."""

    columns: list[str]
    data: Array
    target: Array


def load(path: Path | None = None) -> Rows:
    """Load the sample (442 rows, 10 features), or a .csv or .parquet file. Raises DataError if it has faults.

    Columns of text are checked, but are no features of this regression.
    """
    if path is None:
        sample = load_diabetes()
        return Rows(list(sample.feature_names), sample.data, sample.target)
    table = read_checked(path, SCHEMA)
    *features, target = [column.name for column in SCHEMA if column.kind is not str]
    complete = np.all([np.isfinite(table.numbers[name]) for name in (*features, target)], axis=0)
    if not complete.all():
        print(f"{np.sum(~complete)} of {len(complete)} rows lack a value and are dropped")
    data = np.column_stack([table.numbers[name][complete] for name in features])
    return Rows(features, data, table.numbers[target][complete])
