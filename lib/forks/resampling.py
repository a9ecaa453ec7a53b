"""Compare two models on resamples of the hold-out rows (a paired bootstrap), within a time budget.

It runs beside the owner's model and imports the standard library only, and numpy if the model's environment has it.
"""

import contextlib
import math
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

from lib.forks import metrics

RESAMPLES = 1000
TRIED = 3  # resamples on which a metric's form for arrays must agree with the owner's score()
CELLS = 1 << 22  # indices of rows that are drawn at once, which bounds the memory

Values = list[Any]
Score = Callable[[Values, Values], float]  # of true and predicted values


def resample(score: Score, metric: str, truth: Values, predicted: list[Values], budget_s: float) -> list[list[float]]:
    """Return, for each resample, the metric of each model; fewer than RESAMPLES after `budget_s`.

    A metric that is a mean over rows is computed on arrays, if that agrees with `score` on all rows and on some
    resamples. A resample on which the metric is not defined (one class only, for instance) is left out.
    """
    end = time.monotonic() + budget_s
    try:
        batches = _by_arrays(score, metric, truth, predicted)
    except ImportError:
        batches = None
    result: list[list[float]] = []
    for batch in batches or _by_calls(score, truth, predicted):
        result += [values for values in batch if all(map(math.isfinite, values))]
        if time.monotonic() > end:
            break
    return result


def _by_calls(score: Score, truth: Values, predicted: list[Values]) -> Iterator[list[list[float]]]:
    draw = random.Random(0)  # noqa: S311 - statistics, not secrets
    for _ in range(RESAMPLES):
        rows = draw.choices(range(len(truth)), k=len(truth))
        with contextlib.suppress(ValueError, ZeroDivisionError, IndexError):
            yield [_scores(score, truth, predicted, rows)]


def _by_arrays(score: Score, metric: str, truth: Values, predicted: list[Values]) -> Iterator[list[list[float]]] | None:
    """Return batches of resamples; None if the metric has no form for arrays, or if the owner's score() differs."""
    import numpy as np

    form, count = metrics.of_arrays(metric), len(truth)
    arrays = [np.array(values) for values in (truth, *predicted)]
    if form is None or any(array.shape != (count,) or array.dtype.kind not in "biufU" for array in arrays):
        return None
    draw, size = np.random.default_rng(0), max(1, min(RESAMPLES, CELLS // count))
    tried = [np.arange(count), *draw.integers(count, size=(TRIED, count))]

    def values(draws: Any) -> Any:
        return np.stack([form(arrays[0], array, draws) for array in arrays[1:]], axis=-1)

    by_calls = [_scores(score, truth, predicted, rows.tolist()) for rows in tried]
    if not np.allclose(values(np.stack(tried)), by_calls, rtol=1e-9, atol=0):
        return None
    return (
        values(draw.integers(count, size=(min(size, RESAMPLES - start), count))).tolist()
        for start in range(0, RESAMPLES, size)
    )


def _scores(score: Score, truth: Values, predicted: list[Values], rows: list[int]) -> list[float]:
    chosen = [truth[row] for row in rows]
    return [float(score(chosen, [values[row] for row in rows])) for values in predicted]
