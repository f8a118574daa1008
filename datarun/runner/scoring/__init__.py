"""How predictions are scored and combined: in a child that never saw a submission's code, only what it predicted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


class ScoringError(Exception):
    """Predictions, or labels, that a metric can't score; says which and why."""


@dataclass(frozen=True)
class Labels:
    """The labels of the two parts; those of the test part are None where nobody has them."""

    train: Any
    test: Any = None


class Scoring(Protocol):
    """The metrics of one data set, the official one first, and how it combines predictions.

    `y` are the labels of one part as the data set gives them; predictions are what
    `datarun.contract.predictions` reads, of the same part, whole.
    """

    def score(self, y: Any, predictions: Any, rows: Rows | None) -> dict[str, float]:
        """Metric → value on these rows, or on all of them. Raises `ScoringError`."""

    def bag(self, y: Any, predictions: Sequence[Any], rows: Sequence[Rows] | None) -> dict[str, list[float]]:
        """Metric → value of the first n predictions combined, n = 1, 2, …

        `rows`: which of its rows each of them counts for; None: all. Rows that none counts for are left out.
        """

    def select(self, y: Any, predictions: Sequence[Any], rows: Rows) -> list[int]:
        """Which predictions to combine, some of them more than once, by the official metric on these rows.

        Greedy forward selection with replacement: Caruana et al., Ensemble Selection from Libraries of Models,
        ICML 2004.
        """

    def combine(self, predictions: Sequence[Any], chosen: Sequence[int]) -> Any:
        """The chosen ones of the predictions, combined."""
