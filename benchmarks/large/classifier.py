"""Whichever class's mean is nearer: what a linear classifier costs at the least."""

import numpy as np


class Classifier:
    def fit(self, X: np.ndarray, y: np.ndarray) -> None:
        zero, one = ((y == label) @ X / (y == label).sum() for label in (0, 1))
        self.direction = one - zero
        self.middle = self.direction @ (one + zero) / 2

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        one = 1 / (1 + np.exp(self.middle - X @ self.direction))
        return np.column_stack([1 - one, one])
