"""A pipeline in a file of another name, with a file beside it; helpers that the kit imports from `external_imports`."""

import rampwf as rw
from tree_helpers import folds, table

problem_title = "Trees with helpers"
Predictions = rw.prediction_types.make_multiclass(label_names=["ash", "beech", "cedar"])
workflow = rw.workflows.SKLearnPipeline(filename="pipeline.py", additional_filenames=["notes/weights.txt"])
score_types = [rw.score_types.NegativeLogLikelihood(name="nll", precision=3), rw.score_types.Accuracy()]


def get_cv(X, y):
    return folds(len(y))


def get_train_data(path="."):
    return table.read(path, "train")


def get_test_data(path="."):
    return table.read(path, "test")
