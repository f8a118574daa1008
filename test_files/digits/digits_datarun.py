"""The custom module of the digits: how to prepare and read the data, how to train and test a submission.

The raw data are two files joined by ``id``: ``data.csv`` (id, label) and ``pixels.csv.gz`` (id and the 64
pixels, row by row). To a submission an image is a dict, ``{"id": int, "image": array of shape (8, 8)}``
with pixels from 0 (white) to 16 (black), and X is a list of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedShuffleSplit, train_test_split

Image = dict[str, Any]


class TrainedModel(NamedTuple):
    """The three parts of a submission, trained."""

    feature_extractor: Any
    classifier: Any
    calibrator: Any


def prepare_data(raw_data_path: str) -> None:
    """Write ``train.csv`` and ``test.csv``, each complete in itself, beside the raw files."""
    folder = Path(raw_data_path)
    labels = pd.read_csv(folder / "data.csv")
    pixels = pd.read_csv(folder / "pixels.csv.gz")
    digits = labels.merge(pixels, on="id", validate="one_to_one")
    train, test = train_test_split(digits, test_size=0.2, random_state=42)
    train.to_csv(folder / "train.csv", index=False)
    test.to_csv(folder / "test.csv", index=False)


def get_train_data(raw_data_path: str) -> tuple[list[Image], np.ndarray]:
    """The images to train on and their labels, int64 of shape (n_images,)."""
    return _read(Path(raw_data_path) / "train.csv")


def get_test_data(raw_data_path: str) -> tuple[list[Image], np.ndarray]:
    """The held-out images and their labels, int64 of shape (n_images,)."""
    return _read(Path(raw_data_path) / "test.csv")


def train_submission(
    module_path: str, X: Sequence[Image], y: np.ndarray, train_indices: Sequence[int]
) -> TrainedModel:
    """Train the submission in package ``module_path`` on the images at ``train_indices``.

    A tenth of them is kept from the classifier for the calibrator.
    """
    feature_extractor = import_module(".feature_extractor", module_path).FeatureExtractor()
    classifier = import_module(".classifier", module_path).Classifier()
    calibrator = import_module(".calibrator", module_path).Calibrator()

    X_train = [X[index] for index in train_indices]
    y_train = np.array([y[index] for index in train_indices])
    feature_extractor.fit(X_train, y_train)
    features = feature_extractor.transform(X_train)

    splitter = StratifiedShuffleSplit(n_splits=1, test_size=0.1, random_state=57)
    fit_indices, calibration_indices = next(splitter.split(features, y_train))
    classifier.fit(features[fit_indices], y_train[fit_indices])
    calibrator.fit(classifier.predict_proba(features[calibration_indices]), y_train[calibration_indices])
    return TrainedModel(feature_extractor, classifier, calibrator)


def test_submission(
    trained_model: TrainedModel, X: Sequence[Image], test_indices: Sequence[int]
) -> np.ndarray:
    """Probabilities of the ten digits at ``test_indices``: float64 of shape (n_indices, 10)."""
    features = trained_model.feature_extractor.transform([X[index] for index in test_indices])
    return trained_model.calibrator.predict_proba(trained_model.classifier.predict_proba(features))


def _read(path: Path) -> tuple[list[Image], np.ndarray]:
    digits = pd.read_csv(path)
    images = digits.drop(columns=["id", "label"]).to_numpy().reshape(-1, 8, 8)
    X = [{"id": int(id_), "image": image} for id_, image in zip(digits["id"], images, strict=True)]
    return X, digits["label"].to_numpy()
