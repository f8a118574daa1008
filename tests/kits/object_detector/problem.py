"""Where bright discs are in small pictures: any number of them in each."""

import os

import numpy as np
import pandas as pd
import rampwf as rw
from sklearn.model_selection import KFold

problem_title = "Discs in pictures"
Predictions = rw.prediction_types.make_detection()
workflow = rw.workflows.ObjectDetector()
score_types = [
    rw.score_types.OSPA(minipatch=[2, 14, 2, 14]),
    rw.score_types.SCP(shape=(16, 16), minipatch=[2, 14, 2, 14]),
    rw.score_types.DetectionAveragePrecision(name="ap"),
    rw.score_types.DetectionPrecision(name="prec(0)", conf_threshold=0.0, iou_threshold=0.2),
    rw.score_types.DetectionRecall(name="rec(0)", conf_threshold=0.0, iou_threshold=0.2),
    rw.score_types.MADCenter(name="mad_center", iou_threshold=0.2),
    rw.score_types.MADRadius(name="mad_radius", iou_threshold=0.2),
]


def get_cv(X, y):
    return KFold(n_splits=3, shuffle=True, random_state=4).split(y)


def _read(path, name):
    folder = os.path.join(path, "data")
    X = pd.read_csv(os.path.join(folder, name + "_pixels.csv")).values.reshape(-1, 16, 16)
    discs = pd.read_csv(os.path.join(folder, name + "_discs.csv"))
    y = np.empty(len(X), dtype=object)
    for picture in range(len(X)):
        rows = discs[discs["picture"] == picture]
        y[picture] = list(zip(rows["x"], rows["y"], rows["r"], strict=True))
    return X, y


def get_train_data(path="."):
    return _read(path, "train")


def get_test_data(path="."):
    return _read(path, "test")
