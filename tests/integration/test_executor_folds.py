"""A fold of every workflow: its predictions equal those of scikit-learn alone, bit by bit."""

import runpy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedShuffleSplit, train_test_split

from datarun.contract import npy
from datarun.contract.messages import Data, Outcome, PrepareOrder
from tests.bench import ROOM, Bench, Stages, succeeded

EXAMPLES = Path(__file__).parents[2] / "test_files"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench.serving(tmp_path_factory.mktemp("bench")) as bench:
        yield bench


def made(folder: str, name: str, cls: str) -> Any:
    return runpy.run_path(str(EXAMPLES / folder / f"{name}.py"))[cls]()


class Table:
    """An example's csv, split, and the rows of one fold: every tenth row is not trained on, some twice."""

    def __init__(self, example: str, target_column: str) -> None:
        self.folder, self.target_column = EXAMPLES / example, target_column
        self.path = self.folder / f"{example}.csv"
        table = pd.read_csv(self.path)
        self.rows = train_test_split(np.arange(len(table)), test_size=0.2, random_state=42)
        train, test = train_test_split(table, test_size=0.2, random_state=42)
        self.y = train.pop(target_column).to_numpy()
        test = test.drop(columns=target_column)
        self.X_train, self.X_test = train.reset_index(drop=True), test.reset_index(drop=True)
        self.train_is = np.array([*(i for i in range(len(train)) if i % 10), 1, 2, 2])

    def submission(self, *elements: str) -> dict[str, Path]:
        return {f"{element}.py": self.folder / f"{element}.py" for element in elements}

    def fitted(self) -> tuple[pd.DataFrame, np.ndarray]:
        return self.X_train.iloc[self.train_is], self.y[self.train_is]


@pytest.fixture(scope="module")
def iris() -> Table:
    return Table("iris", "species")


@pytest.fixture(scope="module")
def diabetes() -> Table:
    return Table("diabetes", "progression")


def run(bench: Bench, table: Table, *elements: str) -> Outcome:
    data = bench.csv(table.path, table.target_column, table.rows)
    return succeeded(bench.run(bench.fold(data, elements, table.submission(*elements), table.train_is)))


def assert_equal(outcome: Outcome, train: np.ndarray, test: np.ndarray) -> None:
    """Bit by bit."""
    for part, expected in (("train", train), ("test", test)):
        array = outcome.arrays[part]
        assert (array.dtype, array.shape) == (np.float64, expected.shape)
        assert array.tobytes() == expected.tobytes()


def test_classifier(bench: Bench, iris: Table) -> None:
    rows, y = iris.fitted()
    classifier = made("iris", "classifier", "Classifier")
    classifier.fit(np.array(rows), y)
    assert_equal(
        run(bench, iris, "classifier"),
        classifier.predict_proba(np.array(iris.X_train)),
        classifier.predict_proba(np.array(iris.X_test)),
    )


def test_regressor(bench: Bench, diabetes: Table) -> None:
    rows, y = diabetes.fitted()
    regressor = made("diabetes", "regressor", "Regressor")
    regressor.fit(np.array(rows), y)
    assert_equal(
        run(bench, diabetes, "regressor"),
        regressor.predict(np.array(diabetes.X_train)),
        regressor.predict(np.array(diabetes.X_test)),
    )


def test_feature_extractor_and_classifier(bench: Bench, iris: Table) -> None:
    rows, y = iris.fitted()
    extractor = made("iris", "feature_extractor", "FeatureExtractor")
    classifier = made("iris", "classifier", "Classifier")
    extractor.fit(rows, y)
    classifier.fit(extractor.transform(rows), y)
    assert_equal(
        run(bench, iris, "feature_extractor", "classifier"),
        classifier.predict_proba(extractor.transform(iris.X_train)),
        classifier.predict_proba(extractor.transform(iris.X_test)),
    )


@pytest.mark.parametrize("with_extractor", [True, False], ids=["features", "plain"])
def test_calibrator(bench: Bench, iris: Table, with_extractor: bool) -> None:
    rows, y = iris.fitted()
    extractor = made("iris", "feature_extractor", "FeatureExtractor")
    features = extractor.transform if with_extractor else np.array
    classifier = made("iris", "classifier", "Classifier")
    calibrator = made("iris", "calibrator", "Calibrator")
    split = StratifiedShuffleSplit(n_splits=1, test_size=0.1, random_state=57)
    fit_is, calibrate_is = next(split.split(features(rows), y))
    classifier.fit(features(rows)[fit_is], y[fit_is])
    calibrator.fit(classifier.predict_proba(features(rows)[calibrate_is]), y[calibrate_is])
    elements = (*(("feature_extractor",) if with_extractor else ()), "classifier", "calibrator")
    assert_equal(
        run(bench, iris, *elements),
        calibrator.predict_proba(classifier.predict_proba(features(iris.X_train))),
        calibrator.predict_proba(classifier.predict_proba(features(iris.X_test))),
    )


def test_custom_module(bench: Bench) -> None:
    folder = EXAMPLES / "digits"
    raw = {name: folder / name for name in ("data.csv", "pixels.csv.gz", "digits_datarun.py")}
    data = Data(files=bench.files(raw), target_column="label", module="digits_datarun.py")
    prepared = succeeded(bench.run(PrepareOrder("job", 1, data, ROOM)))
    data = replace(data, files={**data.files, **prepared.blobs}, **prepared.counts)

    elements = ("feature_extractor", "classifier", "calibrator")
    submission = {f"{name}.py": folder / f"{name}.py" for name in elements}
    assert data.n_train is not None
    train_is = np.arange(0, data.n_train, 2)
    outcome = succeeded(bench.run(bench.fold(data, elements, submission, train_is)))

    table = pd.read_csv(folder / "data.csv").merge(pd.read_csv(folder / "pixels.csv.gz"), on="id")
    train, test = train_test_split(table, test_size=0.2, random_state=42)
    train_images, test_images = (
        [{"image": row.reshape(8, 8)} for row in part.drop(columns=["id", "label"]).to_numpy()]
        for part in (train, test)
    )
    y = train["label"].to_numpy()[train_is]
    extractor = made("digits", "feature_extractor", "FeatureExtractor")
    classifier, calibrator = (made("digits", name, name.title()) for name in elements[1:])
    features = extractor.transform([train_images[i] for i in train_is])
    split = StratifiedShuffleSplit(n_splits=1, test_size=0.1, random_state=57)
    fit_is, calibrate_is = next(split.split(features, y))
    classifier.fit(features[fit_is], y[fit_is])
    calibrator.fit(classifier.predict_proba(features[calibrate_is]), y[calibrate_is])
    assert_equal(
        outcome,
        calibrator.predict_proba(classifier.predict_proba(extractor.transform(train_images))),
        calibrator.predict_proba(classifier.predict_proba(extractor.transform(test_images))),
    )


def test_the_stages_are_told_in_order(bench: Bench, diabetes: Table) -> None:
    stages = Stages()
    data = bench.csv(diabetes.path, diabetes.target_column, diabetes.rows)
    order = bench.fold(data, ("regressor",), diabetes.submission("regressor"), diabetes.train_is)
    succeeded(bench.run(order, stages))
    assert stages.reached == ["trained", "validated"]


def test_files_beyond_the_elements_are_left_unused_but_can_be_imported(bench: Bench, diabetes: Table) -> None:
    submission = {
        "regressor.py": "from .helpers import one\n"
        "class Regressor:\n"
        "    def fit(self, X, y): pass\n"
        "    def predict(self, X): return [one] * len(X)\n",
        "helpers.py": "one = 1\n",
        "classifier.py": "raise RuntimeError('not asked for')\n",
        "notes.txt": b"\xff\x00",
    }
    data = bench.csv(diabetes.path, diabetes.target_column, diabetes.rows)
    outcome = succeeded(bench.run(bench.fold(data, ("regressor",), submission, diabetes.train_is)))
    assert_equal(outcome, np.ones(len(diabetes.X_train)), np.ones(len(diabetes.X_test)))


def test_large_predictions_travel_as_blobs(bench: Bench, diabetes: Table) -> None:
    submission = {
        "regressor.py": "import numpy as np\n"
        "class Regressor:\n"
        "    def fit(self, X, y): pass\n"
        "    def predict(self, X): return np.arange(len(X) * 500).reshape(len(X), 500)\n"
    }
    data = bench.csv(diabetes.path, diabetes.target_column, diabetes.rows)
    outcome = succeeded(bench.run(bench.fold(data, ("regressor",), submission, diabetes.train_is)))
    n_train, n_test = len(diabetes.X_train), len(diabetes.X_test)
    arrived = npy.loads(bench.blobs.contents[outcome.array_blobs["train"]])
    expected = np.arange(n_train * 500, dtype=np.float64).reshape(n_train, 500)
    assert arrived.dtype == np.float64
    np.testing.assert_array_equal(arrived, expected)
    assert n_test * 500 * 8 > 256 * 1024
    assert set(outcome.array_blobs) == {"train", "test"}
    assert outcome.arrays == {}
