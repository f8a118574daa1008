"""What the kit and its submissions import."""

import numpy as np


def folds(rows):
    half = np.arange(rows) % 2
    for part in (0, 1):
        yield np.flatnonzero(half == part), np.flatnonzero(half != part)


def squares(X):
    return X**2
