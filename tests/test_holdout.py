"""Hold-outs and the owner's functions as a release reads them: every format of file, and the defaults."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer_names
from sklearn.pipeline import make_pipeline

from lib.forks import metrics, resampling
from lib.forks.holdout import HoldoutError, read
from lib.forks.owner import Owner, functions
from lib.settings.metrics import direction_of
from tests.support.project import Project

pytestmark = pytest.mark.quick

RECORDS = [{"age": 30, "city": "Rome", "churn": "yes"}, {"age": None, "city": None, "churn": "no"}]
ROWS = [{"age": 30, "city": "Rome"}, {"age": None, "city": None}]


def parquet(path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="no package of this tool brings it on Python 3.13")
    pytest.importorskip("pyarrow.parquet")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(RECORDS), path)


FILES: dict[str, Callable[[Path], object]] = {
    "records": lambda path: path.write_text(json.dumps(RECORDS)),
    "CSV": lambda path: path.write_text("age,city,churn\n30,Rome,yes\n,,no\n"),
    "Parquet": parquet,
    "the split form": lambda path: path.write_text(
        '{"columns": ["age", "city", "churn"], "data": [[30, "Rome", "yes"], [NaN, null, "no"]]}'
    ),
    "rows with names": lambda path: path.write_text(json.dumps({"data": ROWS, "churn": ["yes", "no"]})),
}


@pytest.mark.parametrize("write", FILES.values(), ids=FILES.keys())
def test_rows_with_names_text_and_missing_values_are_read_from_every_format(
    tmp_path: Path, write: Callable[[Path], object]
) -> None:
    path = tmp_path / "0a1b"  # outputs are stored under their digests, without an ending
    write(path)
    assert read(str(path), target="churn") == (ROWS, ["yes", "no"], ["age", "city"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("age,churn\n30,1\n", "no column 'target' (gate.target), only age, churn"),
        ("a,target\n1,2,3\n", "a row has 3 values, the header has 2"),
        ('{"data": [[1], [2]], "target": [1]}', "has 2 rows and 1 true values"),
        ("[1, 2]", "or a list of objects"),
        ("{", "neither JSON, CSV nor Parquet"),
        ("a,target\n", "has 0 rows"),
    ],
)
def test_what_is_wrong_with_a_hold_out_is_named(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "holdout.csv").write_text(content)
    with pytest.raises(HoldoutError) as error:
        read(str(tmp_path / "holdout.csv"))
    assert said in str(error.value)
    assert "holdout.csv" in str(error.value)


def test_train_py_is_imported_only_if_that_does_not_train(tmp_path: Path) -> None:
    functions_of_train = "def predict(model, rows): ...\ndef score(truth, predicted): ...\n"
    (tmp_path / "train.py").write_text(functions_of_train)
    assert functions(str(tmp_path)) == {}
    (tmp_path / "train.py").write_text(
        f"from joblib import load\n{functions_of_train}if __name__ == '__main__':\n    pass\n"
    )
    (tmp_path / "evaluation.py").write_text("from elsewhere import score\n")
    assert functions(str(tmp_path)) == {"predict": "train", "score": "evaluation"}


@pytest.fixture
def default(tmp_path: Path) -> Owner:
    """Return the functions of an owner who wrote none."""
    return Owner(str(tmp_path))


class FirstColumn:
    """A model that knows its columns, as one that was trained on a data frame does."""

    feature_names_in_ = ("a", "b")

    def predict(self, rows: Any) -> Any:
        return np.asarray(rows)[:, 0]


def test_columns_are_matched_by_name_not_by_place(default: Owner) -> None:
    model = FirstColumn()
    rows = [{"b": 10.0, "a": 1.0}, {"b": 30.0, "a": 2.0}]
    assert default.predict(model, rows, ["b", "a"]) == [1.0, 2.0]
    assert default.predict(model, [[10.0, 1.0]], ["b", "a"]) == [1.0]
    with pytest.raises(KeyError, match="the rows have no column b"):
        default.predict(model, [{"a": 1.0}], ["a"])


def test_a_model_of_texts_gets_texts(default: Owner) -> None:
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(["good film", "bad film"] * 9, ["+", "-"] * 9)
    for rows in (["good", "bad"], [["good"], ["bad"]], [{"text": "good"}, {"text": "bad"}]):
        assert default.predict(model, rows, []) == ["+", "-"]
    assert default.score("f1_macro", ["+", "-"], ["+", "-"]) == {"f1_macro": 1.0}
    probabilities = default.answers(model, ["good", "bad"], [], "roc_auc")
    assert default.score("roc_auc", ["+", "-"], probabilities) in ({"roc_auc": 0.0}, {"roc_auc": 1.0})


LABELS = ([0, 0, 0, 0, 1, 1, 1, 1], [1, 0, 0, 0, 1, 1, 1, 0], [1, 0, 1, 0, 1, 1, 0, 0])
PROBABILITIES = (LABELS[0], [[0.8, 0.2]] * 4 + [[0.3, 0.7]] * 4, [[0.6, 0.4], [0.3, 0.7]] * 4)
NUMBERS = ([1.0, 2.0, 3.0, 4.0], [1.1, 2.0, 3.0, 4.0], [4.0, 3.0, 2.5, 1.0])
ERRORS = [name.removeprefix("neg_") for name in get_scorer_names() if name.startswith("neg_")]
# Defined for more than two classes, or for lists of labels, only.
OTHERS = {"roc_auc_ovo", "roc_auc_ovr", "roc_auc_ovo_weighted", "roc_auc_ovr_weighted", "top_k_accuracy"}
OTHERS |= {f"{name}_samples" for name in ("f1", "jaccard", "precision", "recall")}


@pytest.mark.parametrize("metric", sorted({*get_scorer_names(), *ERRORS, *metrics.SHORT} - OTHERS))
def test_the_direction_of_every_metric_promotes_the_better_model(metric: str) -> None:
    of_numbers = metric.endswith(("error", "deviance", "r2", "variance")) or metric in metrics.SHORT
    of_labels = PROBABILITIES if metrics.needs_probabilities(metric) else LABELS
    truth, good, bad = NUMBERS if of_numbers and not metrics.needs_probabilities(metric) else of_labels
    better, worse = metrics.measure(metric, truth, good), metrics.measure(metric, truth, bad)
    assert better != worse
    assert direction_of(metric) == ("higher" if better > worse else "lower")
    if metric.startswith("neg_"):
        assert worse < better <= 0


def mean_squared_error(truth: list[float], predicted: list[float]) -> float:
    return float(np.mean((np.array(truth) - np.array(predicted)) ** 2))


def test_a_mean_over_rows_is_resampled_on_arrays_and_another_metric_of_the_same_name_is_not() -> None:
    calls = []

    def score(truth: list[float], predicted: list[float]) -> float:
        calls.append(1)
        return mean_squared_error(truth, predicted)

    truth, predicted = [1.0, 2.0, 4.0], [[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]]
    fast = resampling.resample(score, "mse", truth, predicted, 60)
    assert len(fast) == resampling.RESAMPLES
    assert len(calls) < 20
    slow = resampling.resample(score, "own", truth, predicted, 60)
    assert len(calls) > 2 * resampling.RESAMPLES
    assert np.mean(fast, axis=0) == pytest.approx(np.mean(slow, axis=0), rel=0.2)
    double = resampling.resample(lambda *values: 2 * score(*values), "mse", truth, predicted, 60)
    assert np.mean(double, axis=0) == pytest.approx(2 * np.mean(slow, axis=0))


def test_a_slow_metric_has_fewer_resamples() -> None:
    assert len(resampling.resample(mean_squared_error, "own", [1.0, 2.0], [[1.0, 2.0]] * 2, 0)) == 1


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ('metric = "neg_mean_squared_error"\ndirection = "lower"', "higher is better for neg_mean_squared_error"),
        ('metric = "profit"', 'needs direction = "lower" or "higher"'),
    ],
)
def test_a_direction_that_the_metric_contradicts_or_does_not_imply_is_an_error(
    tmp_path: Path, gate: str, said: str
) -> None:
    project = Project(tmp_path)
    text = (tmp_path / "config/release.toml").read_text()
    start, end = text.index("[gate]"), text.index("[services.aci]")
    (tmp_path / "config/release.toml").write_text(f"{text[:start]}[gate]\n{gate}\n\n{text[end:]}")
    assert said in project.invoke("train", expect=2)
    project.edit("config/release.toml", gate, 'metric = "neg_mean_squared_error"')
    assert "train" in project.invoke("status")
