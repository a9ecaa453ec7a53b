"""Which direction of a metric is better, by its name. Its values are computed by lib.forks.metrics."""

from typing import Literal

Direction = Literal["lower", "higher"]

LOWER = {"mse", "rmse", "mae", "mape", "msle", "logloss", "log_loss", "brier_score_loss", "loss"}
LOWER |= {"brier_score", "negative_likelihood_ratio"}
HIGHER = {
    *("accuracy", "balanced_accuracy", "top_k_accuracy", "average_precision", "matthews_corrcoef", "roc_auc", "auc"),
    *("r2", "explained_variance", "kappa"),
}
BETTER_HIGH = ("neg_", "f1", "precision", "recall", "jaccard", "roc_auc_", "positive_likelihood", "d2_", "r2_")


def direction_of(metric: str) -> Direction | None:
    """Return which direction is better; None if the name does not say."""
    if metric in LOWER or (metric.endswith(("_error", "_loss", "_deviance")) and not metric.startswith("neg_")):
        return "lower"
    named = metric in HIGHER or metric.startswith(BETTER_HIGH) or metric.endswith("_score")
    return "higher" if named else None
