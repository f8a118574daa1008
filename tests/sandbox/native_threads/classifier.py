"""Multiplies matrices and fits a model, in native code that starts threads."""

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        matrix = np.random.rand(600, 600)
        assert np.isfinite(np.linalg.inv(matrix @ matrix.T + np.eye(600))).all()
        HistGradientBoostingClassifier(max_iter=3).fit(matrix, matrix[:, 0] > 0.5)
