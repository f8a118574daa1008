"""Digits: the pixels, and how much ink each row and each column holds."""

from typing import Any

import numpy as np


class FeatureExtractor:
    def fit(self, X: list[dict[str, Any]], y: np.ndarray) -> None:
        """Nothing to learn: the features depend on each image alone."""

    def transform(self, X: list[dict[str, Any]]) -> np.ndarray:
        images = np.array([x["image"] for x in X]) / 16
        pixels = images.reshape(len(images), -1)
        return np.hstack([pixels, images.sum(axis=1), images.sum(axis=2)])
