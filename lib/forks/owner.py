"""The owner's functions predict, score and load, and what a release does if a model has none.

It runs beside the owner's model and imports the standard library only, plus what the model itself needs.
"""

import ast
import contextlib
import importlib
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Relative, because images of models without a service/score.py have these files in a separate package.
from . import metrics, table
from .holdout import Row

NAMES = ("predict", "score", "load")
MODULES = ("evaluation", "train")
PICKLES = (".joblib", ".pkl", ".pickle")


class Owner:
    """The functions of the scripts in a folder. Importing them imports the folder's modules under their own names."""

    def __init__(self, folder: str) -> None:
        self.modules = functions(folder)
        # First on the path: the model's pickles and scripts import the modules beside train.py by name.
        sys.path.insert(0, folder)
        # A pickle may name a class of the training script: it must not meet a name of this process's own script.
        sys.modules["__main__"] = types.ModuleType("__main__")
        self._functions = {
            name: getattr(importlib.import_module(module), name) for name, module in self.modules.items()
        }

    def defines(self, name: str) -> bool:
        """Return whether the owner wrote this function."""
        return name in self._functions

    def load(self, path: str) -> Any:
        """Load a model from its file or folder. The platform has verified the digest: a pickle runs any code."""
        if "load" in self._functions:
            return self._functions["load"](path)
        return _load(Path(path))

    def predict(self, model: Any, rows: list[Row], names: list[str], texts: Sequence[str] = ()) -> list[Any]:
        """Return the model's prediction for each row, as JSON can hold it.

        `texts` names columns of text: a few rows do not show it if their values are missing.
        """
        if "predict" in self._functions:
            predictions = table.plain(self._functions["predict"](model, rows))
        elif hasattr(model, "predict"):
            predictions = table.plain(model.predict(table.of_model(model, rows, names, texts)))
        else:
            raise TypeError(
                f"a {type(model).__name__} has no predict(): define predict(model, rows) in model/evaluation.py"
            )
        if not isinstance(predictions, list) or len(predictions) != len(rows):
            raise ValueError(f"predict() must return a list with one prediction for each of {len(rows)} rows")
        return predictions

    def answers(self, model: Any, rows: list[Row], names: list[str], metric: str) -> list[Any]:
        """Return what the metric needs: the predictions, or the probabilities if it is defined on them."""
        own = self.defines("predict") or self.defines("score")
        if own or not metrics.needs_probabilities(metric):
            return self.predict(model, rows, names)
        method = next((name for name in ("predict_proba", "decision_function") if hasattr(model, name)), "")
        if not method:
            raise TypeError(f"{metric} needs probabilities, and a {type(model).__name__} has no predict_proba()")
        answers: list[Any] = table.plain(getattr(model, method)(table.of_model(model, rows, names)))
        return answers

    def score(self, metric: str, truth: list[Any], predicted: list[Any]) -> dict[str, Any]:
        """Return the metrics of predictions: those of the owner's score(), and scikit-learn's if it lacks the gate's.

        Raises ValueError if neither has the metric.
        """
        if "score" not in self._functions:
            return {metric: metrics.measure(metric, truth, predicted)}
        result = dict(self._functions["score"](truth, predicted))
        if metric in result:
            return result
        # It fails if scikit-learn has no such metric, or not for these values.
        with contextlib.suppress(ValueError, TypeError, ImportError):
            return result | {metric: metrics.measure(metric, truth, predicted)}
        where = f"score() of model/{self.modules['score']}.py"
        raise ValueError(f'gate.metric "{metric}" is not one of {", ".join(result)}, which {where} returns')


def functions(folder: str) -> dict[str, str]:
    """Return the module that defines each of the owner's functions; nothing is imported.

    evaluation.py comes first. train.py counts only if it has a `__main__` guard: importing it would train otherwise.
    """
    result: dict[str, str] = {}
    for module in MODULES:
        path = Path(folder) / f"{module}.py"
        tree = ast.parse(path.read_bytes(), str(path)) if path.is_file() else ast.Module([], [])
        names = _defined(tree) if has_guard(tree) else []
        if module != "train":
            names = [*_defined(tree), *_imported(tree)]
        result = {name: module for name in names if name in NAMES} | result
    return result


def has_guard(tree: ast.Module) -> bool:
    """Return whether a script has a part that runs only if the script is started, not if it is imported."""
    return any(isinstance(node, ast.If) and "__name__" in ast.unparse(node.test) for node in tree.body)


def _defined(tree: ast.Module) -> list[str]:
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def _imported(tree: ast.Module) -> list[str]:
    # Not those of train.py: its `load` is more likely one that reads the data.
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return [alias.asname or alias.name for node in imports for alias in node.names]


def _load(path: Path) -> Any:
    """Load a pickled model, or a folder that MLflow wrote."""
    if (path / "MLmodel").is_file():
        import mlflow.pyfunc

        return mlflow.pyfunc.load_model(str(path))
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.suffix in PICKLES]
    if len(files) != 1:
        raise TypeError("the model is a folder: define load(path) in model/evaluation.py, it receives the folder")
    if files[0].suffix not in (*PICKLES, ""):
        raise TypeError(f"nothing is known about {path.name}: define load(path) in model/evaluation.py")
    import joblib

    return joblib.load(files[0])
