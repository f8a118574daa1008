"""Iris: the four measurements, and the areas they span.

The data set's only workflow element is ``classifier``: this file is accepted and left unused. It is what a
submission would bring if the elements were ``feature_extractor, classifier``.
"""

import numpy as np
import pandas as pd


class FeatureExtractor:
    def fit(self, X_df: pd.DataFrame, y: np.ndarray) -> None:
        """Nothing to learn: the features depend on each flower alone."""

    def transform(self, X_df: pd.DataFrame) -> np.ndarray:
        sepal_area = X_df["sepal_length"] * X_df["sepal_width"]
        petal_area = X_df["petal_length"] * X_df["petal_width"]
        return np.column_stack([X_df, sepal_area, petal_area])
