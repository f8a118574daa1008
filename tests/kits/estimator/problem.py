"""The same trees as a table, for a scikit-learn estimator; scores of probabilities."""

import os

import numpy as np
import pandas as pd
import rampwf as rw
from sklearn.model_selection import StratifiedKFold

problem_title = "Ash or not"
Predictions = rw.prediction_types.make_multiclass(label_names=[0, 1])
workflow = rw.workflows.Estimator()
score_types = [
    rw.score_types.ROCAUC(name="auc"),
    rw.score_types.BrierScore(name="brier"),
    rw.score_types.BrierSkillScore(name="skill"),
    rw.score_types.BrierScoreReliability(name="reliability"),
    rw.score_types.BrierScoreResolution(name="resolution"),
    rw.score_types.F1Above(name="f1"),
    rw.score_types.NormalizedGini(name="gini"),
]


def get_cv(X, y):
    folds = StratifiedKFold(n_splits=2, shuffle=True, random_state=1)
    # As a mask and as a list, which numpy takes as well.
    for train, valid in folds.split(X, y):
        mask = np.zeros(len(y), dtype=bool)
        mask[train] = True
        yield np.flatnonzero(mask), list(valid)


def _read(name, path):
    table = pd.read_csv(os.path.join(path, "data", name))
    return table.drop(columns="species"), (table["species"] == "ash").astype(int).values


def get_train_data(path="."):
    return _read("train.csv", path)


def get_test_data(path="."):
    return _read("test.csv", path)
