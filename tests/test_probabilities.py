"""The report draws classifiers whatever form their probabilities have."""

from typing import Any

import pytest

from lib.report.probabilities import labelled

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("truth", "predicted", "labels"),
    [
        ([0, 1, 1], [[0.75, 0.25], [0.25, 0.75], [0.75, 0.25]], [0, 1, 0]),
        ([0, 1, 1], [0.25, 0.75, 0.25], [0, 1, 0]),
        (["ham", "spam", "spam"], [[0.75, 0.25], [0.25, 0.75], [0.75, 0.25]], ["ham", "spam", "ham"]),
        (["ham", "spam"], [{"spam": 0.25, "ham": 0.75}, {"spam": 0.75, "ham": 0.25}], ["ham", "spam"]),
        ([0, 1], [{"0": 0.75, "1": 0.25}, {"0": 0.25, "1": 0.75}], [0, 1]),
        (["ham", "spam"], [{"label": "ham", "score": 0.75}, {"label": "spam", "score": 0.75}], ["ham", "spam"]),
    ],
)
def test_probabilities_of_every_form_are_labels_with_a_confidence(
    truth: list[Any], predicted: list[Any], labels: list[Any]
) -> None:
    assert labelled(truth, predicted) == (labels, [0.75] * len(labels))


@pytest.mark.parametrize(
    ("truth", "predicted"),
    [([0.5, 2.5], [0.25, 0.75]), ([1.0, 2.0], [[1.0, 2.0], [3.0, 4.0]]), (["a", "b"], [{"x": 1.5}, {"x": 2.5}])],
)
def test_other_predictions_are_no_probabilities(truth: list[Any], predicted: list[Any]) -> None:
    assert labelled(truth, predicted) is None
