"""Rows in the form that a model takes, and predictions in a form that JSON can hold.

It runs beside the owner's model: numpy and pandas are imported only if the model's environment has them.
"""

import importlib.util
import math
import re
from collections.abc import Sequence
from typing import Any

from .holdout import Row  # relative, as in owner.py

UNNAMED = re.compile(r"Column_\d+")  # LightGBM's names for columns without one
CATEGORICAL = ("lightgbm", "xgboost", "catboost")  # models that take text columns as categories


def of_model(model: Any, rows: list[Row], names: list[str], texts: Sequence[str] = ()) -> Any:
    """Return rows as the model takes them: a data frame if the columns have names or text, else an array.

    A row may be a list in the order of `names`, an object, or a single value. Columns are matched by name: a model
    that knows its columns gets them in the order of its training. `texts` names columns of text.
    """
    known = [str(name) for name in getattr(model, "feature_names_in_", []) if not UNNAMED.fullmatch(str(name))]
    if rows and not isinstance(rows[0], list | dict):
        return rows
    columns = known or names or (list(rows[0]) if rows and isinstance(rows[0], dict) else [])
    values = [_in_order(row, columns, names) for row in rows]
    has_text = bool(texts) or any(isinstance(value, str) for row in values for value in row)
    if has_text and not known and len(values[0]) == 1 and not _takes_categories(model):
        return [row[0] for row in values]  # a model of single texts, such as TfidfVectorizer in a pipeline
    if (known or has_text or _package(model) == "mlflow") and importlib.util.find_spec("pandas"):
        return _frame(values, columns, _takes_categories(model), texts)
    import numpy as np

    return np.array(values, dtype=object if has_text else float)


def plain(values: Any) -> Any:
    """Return predictions as JSON can hold them: arrays, series, data frames and their numbers as lists and numbers."""
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, dict):
        return {str(name): plain(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [plain(value) for value in values]
    if values is None or isinstance(values, str | bool | int | float):
        return values
    return str(values)


def finite(value: Any) -> bool:
    """Return whether a prediction has no NaN and no infinite number."""
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    if isinstance(value, list):
        return all(map(finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _in_order(row: Row, columns: list[str], names: list[str]) -> list[Any]:
    """Return the values of a row in the order of `columns`. Raises KeyError for a column that the row has not."""
    if not isinstance(row, dict):
        if columns != names and set(columns) <= set(names):
            row = dict(zip(names, row, strict=True))
        else:
            return list(row)
    if absent := [column for column in columns if column not in row]:
        raise KeyError(f"the rows have no column {', '.join(absent)}")
    return [row[column] for column in columns]


def _takes_categories(model: Any) -> bool:
    return _package(model.steps[-1][1] if hasattr(model, "steps") else model) in CATEGORICAL


def _package(model: Any) -> str:
    return type(model).__module__.split(".")[0]


def _frame(values: list[list[Any]], columns: list[str], categories: bool, texts: Sequence[str]) -> Any:
    """Return a data frame. A missing value is NaN, as if pandas had read a file; text columns may become categories."""
    import pandas as pd

    frame = pd.DataFrame(values, columns=columns or None)
    if columns and not all(isinstance(name, str) for name in frame.columns):
        frame.columns = frame.columns.map(str)
    for name in frame.columns:
        present = frame[name].dropna()
        if len(present) == 0 and name not in texts:
            frame[name] = frame[name].astype(float)
        elif len(present) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in present):
            frame[name] = pd.to_numeric(frame[name])
        elif categories:
            frame[name] = frame[name].astype("category")
        elif len(present) < len(frame):
            frame[name] = frame[name].astype(object).where(frame[name].notna(), float("nan"))
    return frame
