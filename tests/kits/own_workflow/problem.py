"""A workflow of the kit's own, whose test is told the fold; a score type and predictions of its own, too."""

import os

import numpy as np
import pandas as pd
import rampwf as rw
from rampwf.utils.importing import import_module_from_source
from sklearn.model_selection import KFold

problem_title = "A workflow of its own"
_Base = rw.prediction_types.make_regression()


class Predictions(_Base):
    """Combined by the median."""

    @classmethod
    def combine(cls, predictions_list, index_list=None):
        chosen = range(len(predictions_list)) if index_list is None else index_list
        return cls(y_pred=np.nanmedian(np.array([predictions_list[i].y_pred for i in chosen]), axis=0))


class Worst(rw.score_types.BaseScoreType):
    is_lower_the_better = True
    minimum = 0.0
    maximum = float("inf")

    def __init__(self, name="worst", precision=2):
        self.name, self.precision = name, precision

    def __call__(self, y_true, y_pred):
        return abs(y_true - y_pred).max()


class Workflow:
    element_names = ("model",)

    def train_submission(self, module_path, X, y, train_is=None):
        model = import_module_from_source(os.path.join(module_path, "model.py"), "model", sanitize=True)
        with open(os.path.join("settings", "ridge.txt")) as file:  # beside problem.py
            return model.fit(X.iloc[train_is], y[train_is], float(file.read()))

    def test_submission(self, trained_model, X, fold):
        predicted = trained_model(X)
        if fold is not None:
            train_is, valid_is = fold
            predicted[train_is] += 0.25
            predicted[valid_is] -= 1.0 / 3
        return predicted


class Features(pd.DataFrame):
    """X is of a class of problem.py."""

    @property
    def _constructor(self):
        return Features


workflow = Workflow()
score_types = [Worst(), rw.score_types.RMSE(name="rmse")]
READABLE_BY_SUBMISSIONS = ["settings"]


def get_cv(X, y):
    return KFold(n_splits=3).split(X)


def _read(name):
    table = pd.read_csv(os.path.join("data", name))  # as if ramp-test ran in the kit's folder
    return Features(table[["a", "b", "c"]]), table["y"].values


def get_train_data(path="."):
    return _read("train.csv")


def get_test_data(path="."):
    return _read("test.csv")
