"""What a mixture has in it, and how much: two predictions in one."""

import os

import numpy as np
import pandas as pd
import rampwf as rw
from sklearn.model_selection import StratifiedShuffleSplit

problem_title = "Mixtures"
_labels = ["ash", "beech", "cedar"]
_Substance = rw.prediction_types.make_multiclass(label_names=_labels)
_Amount = rw.prediction_types.make_regression(label_names=["amount"])
Predictions = rw.prediction_types.make_combined([_Substance, _Amount])
workflow = rw.workflows.DrugSpectra()
_error = rw.score_types.ClassificationError(name="err", precision=3)
_mare = rw.score_types.MARE(name="mare", precision=3)
score_types = [
    rw.score_types.Combined(name="combined", score_types=[_error, _mare], weights=[2.0 / 3, 1.0 / 3]),
    rw.score_types.MakeCombined(score_type=_error, index=0),
    rw.score_types.MakeCombined(score_type=_mare, index=1),
]


def get_cv(X, y):
    cv = StratifiedShuffleSplit(n_splits=2, test_size=0.3, random_state=8)
    return cv.split(X, y[:, 0])


def _read(path, name):
    table = pd.read_csv(os.path.join(path, "data", name))
    y = np.array(table[["substance", "amount"]].values)
    return table.drop(columns=["substance", "amount"]), y


def get_train_data(path="."):
    return _read(path, "train.csv")


def get_test_data(path="."):
    return _read(path, "test.csv")
