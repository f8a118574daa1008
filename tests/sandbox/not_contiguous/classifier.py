"""Is right, in an array whose rows lie apart."""

import numpy as np

from .right import Right

class Classifier(Right):
    def predict_proba(self, X):
        wide = np.zeros((len(X), 8))
        wide[:, ::4] = super().predict_proba(X)
        return wide[::-1][::-1, ::4]
