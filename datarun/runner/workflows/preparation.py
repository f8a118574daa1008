"""Preparing a csv: its split into train and test part."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split


def split_csv(
    csv: Path, target_column: str, held_out_test: float, random_state: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The row numbers of train and test part: scikit-learn's `train_test_split`, to the row.

    Raises
    ------
    ValueError
        pandas can't read the csv, it lacks the target column, or a part would be empty.
    """
    table = pd.read_csv(csv)
    if target_column not in table:
        raise ValueError(f"{csv.name} has no column {target_column!r}.")
    rows = np.arange(len(table), dtype=np.int64)
    train, test = train_test_split(rows, test_size=held_out_test, random_state=random_state)
    return train, test
