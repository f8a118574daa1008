"""Preparing a csv: its split into train and test part."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split


class Split(NamedTuple):
    """Row numbers of the two parts of a csv; labels of both, and the groups of the train part if there are any."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    y_train: NDArray[Any]
    y_test: NDArray[Any]
    groups: NDArray[Any] | None


def split_csv(
    csv: Path, target_column: str, held_out_test: float, random_state: int, groups: str | None = None
) -> Split:
    """Splits as scikit-learn's `train_test_split` does, to the row. `groups` is a column.

    Raises
    ------
    ValueError
        pandas can't read the csv, it lacks one of the columns, or a part would be empty.
    """
    table = pd.read_csv(csv)
    for column in filter(None, (target_column, groups)):
        if column not in table:
            raise ValueError(f"{csv.name} has no column {column!r}.")
    rows = np.arange(len(table), dtype=np.int64)
    train, test = train_test_split(rows, test_size=held_out_test, random_state=random_state)
    y = np.array(table[target_column])
    return Split(train, test, y[train], y[test], None if groups is None else np.array(table[groups])[train])
