"""A target that depends on the weather, which submissions bring in a file of their own."""

import os

import pandas as pd
import rampwf as rw
from sklearn.model_selection import TimeSeriesSplit

problem_title = "Width by day"
Predictions = rw.prediction_types.make_regression()
workflow = rw.workflows.EstimatorExternalData()
score_types = [rw.score_types.RMSE(name="rmse")]


def get_cv(X, y):
    return TimeSeriesSplit(n_splits=3).split(X)


def _read(path, name):
    table = pd.read_csv(os.path.join(path, "data", name), parse_dates=["day"])
    return table.drop(columns="y"), table["y"]


def get_train_data(path="."):
    return _read(path, "train.csv")


def get_test_data(path="."):
    return _read(path, "test.csv")
