"""The gate's metrics: scikit-learn's scorers by name, and plain errors such as mse. Imports scikit-learn when used."""

import functools
from collections.abc import Callable
from typing import Any

# Plain errors by short names; scikit-learn's own names of errors (mean_squared_error) are accepted as well.
SHORT = {
    "mse": "mean_squared_error",
    "rmse": "root_mean_squared_error",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "logloss": "log_loss",
}


def is_known(metric: str) -> bool:
    """Return whether scikit-learn has a scorer or an error of this name."""
    try:
        _scorer(metric)
    except (ValueError, ImportError):
        return False
    return True


def needs_probabilities(metric: str) -> bool:
    """Return whether a metric is defined on probabilities, as roc_auc and log_loss are."""
    try:
        method = _scorer(metric)._response_method
    except (ValueError, ImportError):
        return False
    return "predict" not in ((method,) if isinstance(method, str) else method)


def measure(metric: str, truth: list[Any], predicted: list[Any]) -> float:
    """Return the metric of predictions. Raises ValueError with what the metric needs if they do not fit it."""
    scorer = _scorer(metric)
    values = _of_positive_class(predicted) if needs_probabilities(metric) else predicted
    value = float(scorer._score_func(truth, values, **scorer._kwargs))
    # By the name, not by the scorer's sign: older versions of scikit-learn have a scorer max_error that is negative.
    return -value if metric.startswith("neg_") else value


def of_arrays(metric: str) -> Callable[..., Any] | None:
    """Return the form for arrays of metrics that are means over rows; None for others.

    It gets the true and predicted values of shape (rows) and indices of shape (resamples, rows), and returns the
    metric of each resample.
    """
    import numpy as np

    name, sign = metric.removeprefix("neg_"), -1 if metric.startswith("neg_") else 1
    name = SHORT.get(name, name)
    losses: dict[str, Callable[[Any, Any], Any]] = {
        "mean_squared_error": lambda truth, predicted: (truth - predicted) ** 2,
        "root_mean_squared_error": lambda truth, predicted: (truth - predicted) ** 2,
        "mean_absolute_error": lambda truth, predicted: abs(truth - predicted),
        "accuracy": lambda truth, predicted: (truth == predicted) * 1.0,
    }
    if name == "r2":
        return _r2
    if name not in losses:
        return None
    root: Callable[[Any], Any] = np.sqrt if name.startswith("root") else lambda means: means
    return lambda truth, predicted, draws: sign * root(losses[name](truth, predicted)[draws].mean(axis=-1))


def _r2(truth: Any, predicted: Any, draws: Any) -> Any:
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 - ((truth - predicted) ** 2)[draws].mean(axis=-1) / truth[draws].var(axis=-1)


def _of_positive_class(predicted: list[Any]) -> list[Any]:
    """Return one probability for each row if there are two classes, as scikit-learn's functions take them."""
    if all(isinstance(value, list) and len(value) == 2 for value in predicted):  # noqa: PLR2004 - two classes
        return [value[1] for value in predicted]
    return predicted


def _scorer_name(metric: str) -> str:
    """Return scikit-learn's name of a metric: plain errors have the scorer `neg_...`."""
    from sklearn.metrics import get_scorer_names

    name = SHORT.get(metric, metric)
    return name if name in get_scorer_names() else f"neg_{name}"


@functools.cache
def _scorer(metric: str) -> Any:
    """Return a scorer. Raises ValueError if scikit-learn has none of this name."""
    from sklearn.metrics import get_scorer

    return get_scorer(_scorer_name(metric))
