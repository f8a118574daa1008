"""Height and width of something: two targets at once."""

import os

import pandas as pd
import rampwf as rw
from sklearn.model_selection import KFold

problem_title = "Height and width"
Predictions = rw.prediction_types.make_regression(label_names=["height", "width"])
workflow = rw.workflows.Regressor()
score_types = [rw.score_types.RMSE(name="rmse", precision=3)]


def get_cv(X, y):
    return KFold(n_splits=3, shuffle=True, random_state=0).split(X)


def _read(path, name):
    table = pd.read_csv(os.path.join(path, "data", name))
    return table[["a", "b", "c"]].to_numpy(), table[["height", "width"]].to_numpy()


def get_train_data(path="."):
    return _read(path, "train.csv")


def get_test_data(path="."):
    return _read(path, "test.csv")
