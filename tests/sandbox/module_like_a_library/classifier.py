"""Brings a module that is named like one of the library's; see numpy.py beside it."""

import numpy
from datarun.contract import npy

from .right import Right


class Classifier(Right):
    def fit(self, X, y):
        assert numpy.ones(3).sum() == 3
        assert npy.dumps(numpy.ones(3))
