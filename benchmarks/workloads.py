"""What every system does in a task: fit trees on a fold of iris, predict the train and the test part.

The data are in memory once this is imported. Needs numpy, pandas and scikit-learn, nothing of datarun.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .forest.classifier import Classifier
from .long.classifier import Classifier as LongClassifier

SLOTS = 2
CSV = Path(__file__).parents[1] / "test_files" / "iris" / "iris.csv"
TARGET = "species"
SUBMISSION = Path(__file__).parent / "forest" / "classifier.py"
LONG_SUBMISSION = Path(__file__).parent / "long" / "classifier.py"
HELD_OUT = 0.2
TRAIN_ROWS = 120

_table = pd.read_csv(CSV)
_y = np.array(_table.pop(TARGET))
_X = np.array(_table)
_shuffled = np.random.default_rng(42).permutation(len(_X))
_train, _test = _shuffled[:TRAIN_ROWS], _shuffled[TRAIN_ROWS:]


def cut(number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the train part to train on and to validate on, in fold `number`."""
    rows = np.random.default_rng(number).permutation(TRAIN_ROWS)
    return rows[: TRAIN_ROWS * 4 // 5], rows[TRAIN_ROWS * 4 // 5 :]


def fold(number: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The predictions of the train part and of the test part, of ten trees."""
    return _run(Classifier(), number)


def long_fold(number: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same of thousands of trees."""
    return _run(LongClassifier(), number)


def _run(
    classifier: Classifier | LongClassifier, number: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows = _train[cut(number)[0]]
    classifier.fit(_X[rows], _y[rows])
    return classifier.predict_proba(_X[_train]), classifier.predict_proba(_X[_test])
