"""Predicts as many rows of the test part as the train part has."""

import numpy as np

from .right import Right

class Classifier(Right):
    def predict_proba(self, X):
        return np.zeros((8, 2))
