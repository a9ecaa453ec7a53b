"""The labels and the confidence that a classifier's probabilities stand for."""

from typing import Any

BINARY = {0, 1}


def labelled(truth: list[Any], predicted: list[Any]) -> tuple[list[Any], list[float]] | None:
    """Return the label of each prediction and its probability; None if the predictions are not probabilities.

    A prediction is a probability of each class in sorted order, an object that has them by class, an object that has a
    label and its probability, or the probability of 1 if the true values are 0 and 1.
    """
    classes = sorted(set(truth), key=lambda label: (isinstance(label, str), label))
    pairs = [_pair(value, classes) for value in predicted]
    labels = [label for label, _ in pairs]
    if not pairs or None in labels:
        return None
    return labels, [confidence for _, confidence in pairs]


def _pair(value: Any, classes: list[Any]) -> tuple[Any, float]:
    """Return a label and its probability; the label is None if a prediction has no such form."""
    if isinstance(value, dict):
        names = {str(label): label for label in classes}
        by_class = [(names[name], number) for name, number in value.items() if name in names and _is_share(number)]
        if by_class:
            return max(by_class, key=lambda pair: pair[1])
        label = next((item for item in value.values() if isinstance(item, str | int) and item in classes), None)
        return label, next((item for item in value.values() if isinstance(item, float) and _is_share(item)), 1.0)
    if isinstance(value, list) and len(value) == len(classes) and all(map(_is_share, value)):
        return max(zip(classes, value, strict=True), key=lambda pair: pair[1])
    if set(classes) <= BINARY and isinstance(value, float) and _is_share(value):
        return (1, value) if value >= 0.5 else (0, 1 - value)  # noqa: PLR2004 - the more probable one
    return None, 0.0


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1
