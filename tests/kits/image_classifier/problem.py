"""Colours of pictures that stay on the disk: X names their folder."""

import os

import pandas as pd
import rampwf as rw
from sklearn.model_selection import StratifiedShuffleSplit

problem_title = "Colours of pictures"
Predictions = rw.prediction_types.make_multiclass(label_names=[0, 1, 2])
workflow = rw.workflows.ImageClassifier(test_batch_size=4, chunk_size=5, n_jobs=2, n_classes=3)
score_types = [rw.score_types.Accuracy(name="acc"), rw.score_types.NegativeLogLikelihood(name="nll")]


def get_cv(X, y):
    _, ids = X
    return StratifiedShuffleSplit(n_splits=2, test_size=0.5, random_state=3).split(ids, y)


def _read(path, name):
    table = pd.read_csv(os.path.join(path, "data", name))
    return (os.path.join(path, "data", "imgs"), table["id"].values), table["class"].values


def get_train_data(path="."):
    return _read(path, "train.csv")


def get_test_data(path="."):
    return _read(path, "test.csv")
