"""Trains on two jobs at a time, by joblib and as scikit-learn does it."""

import numpy as np
from joblib import Parallel, delayed
from sklearn.ensemble import RandomForestClassifier

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        squares = Parallel(n_jobs=2)(delayed(pow)(number, 2) for number in range(10))
        assert squares == [number**2 for number in range(10)]
        X = np.arange(80.0).reshape(40, 2)
        RandomForestClassifier(n_estimators=4, n_jobs=2).fit(X, X[:, 0] > 20).predict(X)
