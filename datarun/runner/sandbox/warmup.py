"""Has a zygote run, on made-up data, what its children are about to run: library code only, nothing of a submission.

A child's first fit would otherwise load code pages, fill caches and specialise bytecode (PEP 659), each of them on
memory that it shares with its zygote and has to copy first. That costs more than a small fit itself.
"""

import contextlib
import sys
import time
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

_ROWS = 48
_TIMES = 9  # bytecode is specialised after eight executions
_LONGEST = 0.3  # seconds for one class, after its first fit
_LONGEST_ALL = 1.5  # seconds for those that one submission names: others wait meanwhile
_SIZE = "n_estimators"


def run_estimators(names: Iterable[str]) -> None:
    """Fits the estimators of scikit-learn among `names` (``module.Class``), and predicts with them."""
    until = time.monotonic() + _LONGEST_ALL
    for name in sorted(names):
        module, _, attribute = name.rpartition(".")
        found = getattr(sys.modules.get(module), attribute, None)
        if isinstance(found, type) and found.__module__.startswith("sklearn.") and hasattr(found, "fit"):
            with contextlib.suppress(Exception), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                _run(found)
        if time.monotonic() > until:
            break


def _run(estimator: type[Any]) -> None:
    X = np.random.default_rng(0).normal(size=(_ROWS, 4))  # noqa: N806
    y = np.arange(_ROWS) % 3
    if hasattr(estimator, "predict_proba"):
        y = np.array(["a", "b", "c"], dtype=object)[y]  # as most labels come out of a csv
    until = time.monotonic() + _LONGEST
    for _ in range(_TIMES):
        made = estimator()
        if _SIZE in made.get_params():
            made.set_params(**{_SIZE: 2})
        made.fit(X, y)
        for method in ("predict", "predict_proba", "transform"):
            if hasattr(made, method):
                getattr(made, method)(X)
        if time.monotonic() > until:
            break


def run_rows(X: Any) -> None:  # noqa: N803
    """Takes rows of a `Table` as a fold does."""
    rows = np.arange(min(len(X), _ROWS))
    for _ in range(_TIMES):
        np.array(X.frame.iloc[rows])
        X.array_of(rows)
