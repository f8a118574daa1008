"""Two places with the same trees: which one is told by a data label."""

import os

import pandas as pd
import rampwf as rw
from sklearn.model_selection import ShuffleSplit

problem_title = "Trees of one place"
Predictions = rw.prediction_types.make_multiclass(label_names=["ash", "beech"])
workflow = rw.workflows.FeatureExtractorClassifier()
score_types = [rw.score_types.ROCAUC(name="auc"), rw.score_types.Accuracy(name="acc")]


def get_cv(X, y):
    return ShuffleSplit(n_splits=2, test_size=0.4, random_state=2).split(X)


def _read(path, data_label, name):
    table = pd.read_csv(os.path.join(path, "data", data_label, name))
    return table.drop(columns="species"), table["species"].values


def get_train_data(path=".", data_label="valley"):
    return _read(path, data_label, "train.csv")


def get_test_data(path=".", data_label="valley"):
    return _read(path, data_label, "test.csv")
