"""Whether it is wet, from fields on a grid."""

import os

import pandas as pd
import rampwf as rw
import xarray as xr
from sklearn.model_selection import StratifiedShuffleSplit

problem_title = "Wet or dry"
Predictions = rw.prediction_types.make_multiclass(label_names=[0, 1])
workflow = rw.workflows.GridFeatureExtractorClassifier()
score_types = [rw.score_types.BrierSkillScore(name="skill"), rw.score_types.ROCAUC(name="auc")]


def get_cv(X, y):
    return StratifiedShuffleSplit(n_splits=2, test_size=0.5, random_state=5).split(y, y)


def _read(path, name):
    table = pd.read_csv(os.path.join(path, "data", name))
    fields = table.drop(columns="wet").values.reshape(len(table), 3, 4)
    return xr.Dataset({"pressure": (("enstime", "lat", "lon"), fields)}), table["wet"].values


def get_train_data(path="."):
    return _read(path, "train.csv")


def get_test_data(path="."):
    return _read(path, "test.csv")
