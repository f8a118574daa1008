"""Points of events: which belong together. Folds are cut by event."""

import os

import pandas as pd
import rampwf as rw

problem_title = "Tracks of points"
Predictions = rw.prediction_types.make_clustering()
workflow = rw.workflows.Clusterer()
score_types = [rw.score_types.ClusteringEfficiency(name="efficiency", precision=3)]
_cv = rw.cvs.Clustering(n_cv=2, cv_test_size=0.5, random_state=57)


def get_cv(X, y):
    return _cv.get_cv(X, y)


def _read(path, name):
    table = pd.read_csv(os.path.join(path, "data", name))
    return table[["event", "x", "y"]].values, table[["event", "cluster"]].values


def get_train_data(path="."):
    return _read(path, "train.csv")


def get_test_data(path="."):
    return _read(path, "test.csv")
