import os

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from tree_helpers import squares

WEIGHTS = np.loadtxt(os.path.join(os.path.dirname(__file__), "notes", "weights.txt"))


def _features(X):
    return np.hstack([X * WEIGHTS, squares(X)])


def get_estimator():
    return make_pipeline(FunctionTransformer(_features), LinearDiscriminantAnalysis())
