"""Which tree it is: an array of measurements, probabilities of three classes of text."""

import os

import pandas as pd
import rampwf as rw
from sklearn.model_selection import StratifiedShuffleSplit

problem_title = "Which tree it is"
_labels = ["ash", "beech", "cedar"]
Predictions = rw.prediction_types.make_multiclass(label_names=_labels)
workflow = rw.workflows.Classifier()
score_types = [
    rw.score_types.Accuracy(name="acc", precision=4),
    rw.score_types.NegativeLogLikelihood(name="nll"),
    rw.score_types.BalancedAccuracy(name="balanced"),
    rw.score_types.ClassificationError(name="error"),
    rw.score_types.MacroAveragedRecall(name="recall"),
    rw.score_types.SoftAccuracy([[1, 0.5, 0], [0.5, 1, 0.5], [0, 0.5, 1]], name="soft"),
]


def get_cv(X, y):
    return StratifiedShuffleSplit(n_splits=3, test_size=0.3, random_state=57).split(X, y)


def _read(path, name):
    table = pd.read_csv(os.path.join(path, "data", name))
    return table.drop(columns="species").values, table["species"].values


def get_train_data(path="."):
    return _read(path, "train.csv")


def get_test_data(path="."):
    return _read(path, "test.csv")
