"""Digits: the bare pixels, to compare with the richer features."""

from typing import Any

import numpy as np


class FeatureExtractor:
    def fit(self, X: list[dict[str, Any]], y: np.ndarray) -> None:
        """Nothing to learn: the features depend on each image alone."""

    def transform(self, X: list[dict[str, Any]]) -> np.ndarray:
        return np.array([x["image"].ravel() for x in X]) / 16
