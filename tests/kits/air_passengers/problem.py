"""Passengers by month, a few steps ahead; blocks of time as folds."""

import os

import pandas as pd
import rampwf as rw

problem_title = "Passengers of next month"
Predictions = rw.prediction_types.make_regression()
workflow = rw.workflows.AirPassengers()
score_types = [rw.score_types.RelativeRMSE(name="rel_rmse", precision=3)]
_cv = rw.cvs.TimeSeries(n_cv=2, cv_block_size=0.5, period=12, unit="month", unit_2="year")


def get_cv(X, y):
    return _cv.get_cv(X, y)


def _read(path, name):
    table = pd.read_csv(os.path.join(path, "data", name), index_col=0, parse_dates=[0])
    return table[:-1], table["value"].values[1:]


def get_train_data(path="."):
    return _read(path, "train.csv")


def get_test_data(path="."):
    return _read(path, "test.csv")
