"""A kit of eight numbers, for tests that change it."""

PROBLEM = """
import os

import numpy as np
import rampwf as rw

problem_title = "Toy"
Predictions = rw.prediction_types.make_regression()
workflow = rw.workflows.Regressor()
score_types = [rw.score_types.RMSE()]

def get_cv(X, y):
    yield np.arange(5), np.arange(5, 8)

def get_train_data(path="."):
    return np.arange(8.0)[:, None], np.arange(8.0)

def get_test_data(path="."):
    return np.arange(4.0)[:, None], np.arange(4.0)
"""
