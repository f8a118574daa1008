"""Names a module that ends who imports it, in a text only.

import numpy.f2py.__main__
import sklearn.conftest
from sklearn.experimental import enable_iterative_imputer
"""

import sys

from .right import Right


class Classifier(Right):
    def fit(self, X, y):
        assert not {"numpy.f2py.__main__", "sklearn.conftest"} & set(sys.modules)
