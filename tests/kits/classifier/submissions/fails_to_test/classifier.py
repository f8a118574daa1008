import numpy as np


class Classifier:
    def fit(self, X, y):
        self.rows = len(X)

    def predict_proba(self, X):
        if len(X) < 20:
            raise RuntimeError("these trees are new")
        return np.full((len(X), 3), 1 / 3)
