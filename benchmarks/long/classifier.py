"""A random forest of thousands of trees."""

import numpy as np
from sklearn.ensemble import RandomForestClassifier


class Classifier:
    def __init__(self) -> None:
        self.forest = RandomForestClassifier(n_estimators=8000, random_state=42, n_jobs=1)

    def fit(self, X: np.ndarray, y: np.ndarray) -> None:
        self.forest.fit(X, y)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return self.forest.predict_proba(X)
