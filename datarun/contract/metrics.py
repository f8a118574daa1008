"""Metrics by name: what they are for, and which way is better. Names only; runners compute them.

scikit-learn's scorers (https://scikit-learn.org/stable/modules/model_evaluation.html) keep its sign: more is
always better. The score types of ramp-workflow 0.7 have directions of their own. A kit's own score types are
known once it is prepared.
"""

import difflib
from collections.abc import Collection
from enum import StrEnum


class Task(StrEnum):
    """What a data set asks to be predicted."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"


_CLASSIFICATION = (
    *("accuracy", "balanced_accuracy", "average_precision", "matthews_corrcoef", "top_k_accuracy"),
    *("neg_brier_score", "d2_brier_score", "neg_log_loss", "d2_log_loss_score"),
    *(
        f"{name}{end}"
        for name in ("f1", "jaccard", "precision", "recall")
        for end in ("", "_macro", "_micro")
    ),
    *(f"{name}_weighted" for name in ("f1", "jaccard", "precision", "recall")),
    *("roc_auc", "roc_auc_ovo", "roc_auc_ovo_weighted", "roc_auc_ovr", "roc_auc_ovr_weighted"),
    *("neg_negative_likelihood_ratio", "positive_likelihood_ratio"),
)
_REGRESSION = (
    *("r2", "explained_variance", "d2_absolute_error_score", "neg_max_error"),
    *("neg_mean_absolute_error", "neg_mean_absolute_percentage_error", "neg_median_absolute_error"),
    *("neg_mean_squared_error", "neg_root_mean_squared_error"),
    *("neg_mean_squared_log_error", "neg_root_mean_squared_log_error"),
    *("neg_mean_gamma_deviance", "neg_mean_poisson_deviance"),
)
#: scikit-learn's scorers → what they score.
SCORERS: dict[str, Task] = {
    **dict.fromkeys(_CLASSIFICATION, Task.CLASSIFICATION),
    **dict.fromkeys(_REGRESSION, Task.REGRESSION),
}
#: RAMP's score types that need no arguments → what they score, and whether less is better.
SCORE_TYPES: dict[str, tuple[Task, bool]] = {
    "Accuracy": (Task.CLASSIFICATION, False),
    "BalancedAccuracy": (Task.CLASSIFICATION, False),
    "BrierScore": (Task.CLASSIFICATION, True),
    "BrierSkillScore": (Task.CLASSIFICATION, False),
    "ClassificationError": (Task.CLASSIFICATION, True),
    "F1Above": (Task.CLASSIFICATION, False),
    "MacroAveragedRecall": (Task.CLASSIFICATION, False),
    "NegativeLogLikelihood": (Task.CLASSIFICATION, True),
    "NormalizedGini": (Task.CLASSIFICATION, False),
    "ROCAUC": (Task.CLASSIFICATION, False),
    "MARE": (Task.REGRESSION, True),
    "NormalizedRMSE": (Task.REGRESSION, True),
    "RelativeRMSE": (Task.REGRESSION, True),
    "RMSE": (Task.REGRESSION, True),
}


def lower_is_better(name: str) -> bool:
    """Whether less is better; `name` is one of `SCORERS` or `SCORE_TYPES`."""
    return name in SCORE_TYPES and SCORE_TYPES[name][1]


def problem(name: str, task: Task | None) -> str | None:
    """What is wrong with the metric `name` for this task (None: a custom module may do either), or None."""
    known = {**SCORERS, **{score_type: task_ for score_type, (task_, _) in SCORE_TYPES.items()}}
    if name not in known:
        return f"Unknown metric {name!r}{nearest(name, known)}"
    if task is not None and known[name] != task:
        fitting = [other for other, its in known.items() if its == task]
        return f"{name!r} scores {known[name]}, this is {task}{nearest(name, fitting)}"
    return None


def nearest(name: str, known: Collection[str]) -> str:
    """How a sentence about an unknown name ends: with the names nearest to it."""
    lower: dict[str, str] = {}
    for other in known:
        lower.setdefault(other.lower(), other)  # of two that differ in capitals only, the first one
    close = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)
    contained = [other for other in lower if name.lower() in other]
    found = list(dict.fromkeys([*contained[:3], *close]))[:3]
    if not found:
        return "."
    return f": did you mean {' or '.join(lower[other] for other in found)}?"
