"""Diabetes: gradient boosting on shallow trees."""

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor


class Regressor:
    def __init__(self) -> None:
        self.boosting = GradientBoostingRegressor(
            n_estimators=100, learning_rate=0.05, max_depth=3, subsample=0.7, random_state=42
        )

    def fit(self, X: np.ndarray, y: np.ndarray) -> None:
        self.boosting.fit(X, y)

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.boosting.predict(X)
