"""A series as an xarray data set with a burn-in, and a check that features don't look ahead."""

import os

import pandas as pd
import rampwf as rw
import xarray as xr

problem_title = "The series in three steps"
Predictions = rw.prediction_types.make_regression()
workflow = rw.workflows.ElNino(check_sizes=[20, 24], check_indexs=[7, 15])
score_types = [rw.score_types.RMSE(name="rmse", precision=3)]
_cv = rw.cvs.TimeSeries(n_cv=2, cv_block_size=0.5, period=12, unit="month")
_BURN_IN, _AHEAD = 12, 3


def get_cv(X, y):
    return _cv.get_cv(X, y)


def _read(path, name):
    values = pd.read_csv(os.path.join(path, "data", name))["value"].values
    X = xr.Dataset({"value": ("time", values[:-_AHEAD])})
    X.attrs["n_burn_in"] = _BURN_IN
    return X, values[_BURN_IN + _AHEAD :]


def get_train_data(path="."):
    return _read(path, "train.csv")


def get_test_data(path="."):
    return _read(path, "test.csv")
