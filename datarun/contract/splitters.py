"""scikit-learn's splitters by name, and what can be said of a cross-validation before anything is split.

https://scikit-learn.org/stable/api/sklearn.model_selection.html. Names and numbers only; runners split.
"""

from collections.abc import Mapping
from typing import Any

from .metrics import nearest

_SHUFFLED = frozenset({"n_splits", "test_size", "train_size", "random_state"})
_K_FOLD = frozenset({"n_splits", "shuffle", "random_state"})
_REPEATED = frozenset({"n_splits", "n_repeats", "random_state"})
#: Splitter → its parameters.
SPLITTERS: Mapping[str, frozenset[str]] = {
    "KFold": _K_FOLD,
    "StratifiedKFold": _K_FOLD,
    "GroupKFold": _K_FOLD,
    "StratifiedGroupKFold": _K_FOLD,
    "RepeatedKFold": _REPEATED,
    "RepeatedStratifiedKFold": _REPEATED,
    "ShuffleSplit": _SHUFFLED,
    "StratifiedShuffleSplit": _SHUFFLED,
    "GroupShuffleSplit": _SHUFFLED,
    "TimeSeriesSplit": frozenset({"n_splits", "max_train_size", "test_size", "gap"}),
    "LeaveOneOut": frozenset(),
    "LeavePOut": frozenset({"p"}),
    "LeaveOneGroupOut": frozenset(),
    "LeavePGroupsOut": frozenset({"n_groups"}),
    "PredefinedSplit": frozenset({"test_fold"}),
}
#: Those that keep the rows of a group together.
GROUPED = frozenset(name for name in SPLITTERS if "Group" in name)
#: Folds of one data set, at most: each is a job for every submission.
MOST_FOLDS = 1000
_WHOLE = ("n_splits", "n_repeats", "p", "n_groups", "gap", "max_train_size")


def problem(
    splitter: str, parameters: Mapping[str, Any], groups: str | None, rows: int | None
) -> tuple[str, str] | None:
    """What is wrong with a cross-validation, and of which field of it; or None.

    `rows`: of the train part at most, if that is known.
    """
    if splitter not in SPLITTERS:
        return "splitter", f"Unknown splitter {splitter!r}{nearest(splitter, SPLITTERS)}"
    if unknown := sorted(set(parameters) - SPLITTERS[splitter]):
        known = ", ".join(sorted(SPLITTERS[splitter])) or "none"
        return "parameters", f"{splitter} has no parameter {unknown[0]!r}; it has {known}."
    if (splitter in GROUPED) != (groups is not None):
        which = "needs a column that names the groups" if splitter in GROUPED else "knows no groups"
        return "groups", f"{splitter} {which}."
    for name in _WHOLE:
        value = parameters.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            return "parameters", f"{name} is {value!r}: a whole number is wanted."
    return _number_problem(splitter, parameters, rows)


def _number_problem(splitter: str, parameters: Mapping[str, Any], rows: int | None) -> tuple[str, str] | None:
    if "n_splits" not in SPLITTERS[splitter]:
        return None
    number = parameters.get("n_splits", 10 if "Shuffle" in splitter else 5)
    least = 1 if "Shuffle" in splitter else 2
    if number < least:
        return "parameters", f"n_splits is {number}: {splitter} makes at least {least}."
    if number * parameters.get("n_repeats", 10 if "n_repeats" in SPLITTERS[splitter] else 1) > MOST_FOLDS:
        return "parameters", f"These are more than {MOST_FOLDS} folds."
    if rows is not None and "Shuffle" not in splitter and number > rows:
        return "parameters", f"n_splits is {number}, more than the {rows} rows that there are to train on."
    return None
