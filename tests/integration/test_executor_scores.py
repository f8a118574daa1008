"""Scores of folds and ensembles: those that scikit-learn and RAMP compute from the same predictions, bit by bit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rampwf
from sklearn.metrics import accuracy_score, log_loss, r2_score, roc_auc_score
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

from datarun.contract import npy
from datarun.contract.messages import Data, EnsembleOrder, FoldRows, Outcome, Predicted
from tests.bench import ROOM, TOY, Bench, classifier, succeeded

EXAMPLES = Path(__file__).parents[2] / "test_files"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench.serving(tmp_path_factory.mktemp("bench")) as bench:
        yield bench


class Example:
    """A prepared csv with its folds."""

    def __init__(self, bench: Bench, name: str, target: str, folds: Any) -> None:
        self.bench, self.folder, self.target = bench, EXAMPLES / name, target
        path = self.folder / f"{name}.csv"
        table = pd.read_csv(path)
        rows = train_test_split(np.arange(len(table)), test_size=0.2, random_state=42)
        self.train, self.test = (table.iloc[part].reset_index(drop=True) for part in rows)
        self.data = bench.csv(path, target, rows)
        self.y_train, self.y_test = self.train[target].to_numpy(), self.test[target].to_numpy()
        self.folds = list(folds.split(self.train, self.y_train))

    def submission(self, element: str, folder: str = "") -> dict[str, Path]:
        return {f"{element}.py": self.folder / folder / f"{element}.py"}

    def run(self, fold: int, files: dict[str, Any], *metrics: str) -> Outcome:
        (name,) = files
        train_is, test_is = self.folds[fold]
        order = self.bench.fold(
            self.data,
            (Path(name).stem,),
            files,
            train_is,
            test_is=self.bench.indices(test_is),
            metrics=metrics,
        )
        return self.bench.run(order)

    def fold_rows(self) -> tuple[FoldRows, ...]:
        return tuple(FoldRows(*map(self.bench.indices, fold)) for fold in self.folds)

    def parts(self, fold: int) -> dict[str, Any]:
        train_is, test_is = self.folds[fold]
        return {
            "train": (self.y_train, train_is),
            "valid": (self.y_train, test_is),
            "test": (self.y_test, None),
        }


@pytest.fixture(scope="module")
def iris(bench: Bench) -> Example:
    return Example(bench, "iris", "species", StratifiedKFold(3))


@pytest.fixture(scope="module")
def diabetes(bench: Bench) -> Example:
    return Example(bench, "diabetes", "progression", KFold(3))


def cut(values: Any, rows: Any) -> Any:
    return values if rows is None else values[rows]


def predictions(outcome: Outcome, part: str) -> np.ndarray:
    return outcome.arrays["test" if part == "test" else "train"]


def test_a_classifier_is_scored_as_scikit_learn_scores_it(iris: Example) -> None:
    outcome = succeeded(iris.run(1, iris.submission("classifier"), "accuracy", "neg_log_loss", "roc_auc_ovr"))
    classes = np.unique(iris.y_train)
    assert list(outcome.scores) == ["train", "valid", "test"]
    for part, (y, rows) in iris.parts(1).items():
        y, proba = cut(y, rows), cut(predictions(outcome, part), rows)
        assert outcome.scores[part] == {
            "accuracy": accuracy_score(y, classes[proba.argmax(axis=1)]),
            "neg_log_loss": -log_loss(y, proba, labels=classes),
            "roc_auc_ovr": roc_auc_score(y, proba, multi_class="ovr"),
        }


def test_a_regressor_is_scored_as_scikit_learn_scores_it(diabetes: Example) -> None:
    names = ("r2", "neg_root_mean_squared_error")
    outcome = succeeded(diabetes.run(0, diabetes.submission("regressor"), *names))
    for part, (y, rows) in diabetes.parts(0).items():
        y, predicted = cut(y, rows), cut(predictions(outcome, part), rows)

        rmse = np.sqrt(np.mean((y - predicted) ** 2))
        assert outcome.scores[part] == {"r2": r2_score(y, predicted), "neg_root_mean_squared_error": -rmse}


def test_ramp_s_score_types_score_as_in_ramp(iris: Example, diabetes: Example) -> None:
    outcome = succeeded(
        iris.run(0, iris.submission("classifier"), "NegativeLogLikelihood", "BalancedAccuracy")
    )
    make = rampwf.prediction_types.make_multiclass(label_names=list(np.unique(iris.y_train)))
    for part, (y, rows) in iris.parts(0).items():
        truth, predicted = make(y_true=y, fold_is=rows), make(y_pred=predictions(outcome, part), fold_is=rows)
        for name, value in outcome.scores[part].items():
            assert value == getattr(rampwf.score_types, name)().score_function(truth, predicted)
    outcome = succeeded(diabetes.run(0, diabetes.submission("regressor"), "RMSE"))
    _, rows = diabetes.folds[0]
    errors = diabetes.y_train[rows] - outcome.arrays["train"][rows]
    assert outcome.scores["valid"] == {"RMSE": np.sqrt(np.mean(np.square(errors)))}


def test_a_score_comes_with_what_it_depends_on(iris: Example) -> None:
    facts = succeeded(iris.run(0, iris.submission("classifier"), "accuracy")).facts
    assert set(facts) == {"cpu", "python", "seed", "threads", "versions"}
    assert facts["versions"]["numpy"] == np.__version__


def test_a_fold_without_metrics_is_not_scored(iris: Example) -> None:
    outcome = succeeded(iris.run(0, iris.submission("classifier")))
    assert (outcome.scores, outcome.facts) == ({}, {})


def test_a_custom_module_s_predictions_are_scored(bench: Bench) -> None:
    data = Data(bench.files({"toy.py": TOY}), "y", module="toy.py", n_train=8, n_test=4)
    files = classifier(predict="return np.array([[0.9, 0.1] if i % 2 == 0 else [0.2, 0.8] for i in X])")
    order = bench.fold(
        data, ("classifier",), files, [0, 1, 2, 3], test_is=bench.indices([4, 5, 6, 7]), metrics=("accuracy",)
    )
    scores = succeeded(bench.run(order)).scores
    assert scores == {part: {"accuracy": 1.0} for part in ("train", "valid", "test")}


def test_probabilities_of_too_few_classes_are_bad_output(iris: Example) -> None:
    files = {
        "classifier.py": "import numpy as np\nclass Classifier:\n    def fit(self, X, y): pass\n"
        "    def predict_proba(self, X): return np.full((len(X), 2), 0.5)\n"
    }
    outcome = iris.run(0, files, "accuracy")
    assert outcome.failure == "bad_output"
    assert "predictions of the train part" in outcome.message
    assert "3 classes" in outcome.message


# --- ensembles -------------------------------------------------------------------------------------------


def predicted(example: Example, outcomes: dict[tuple[int, int], Outcome]) -> tuple[Predicted, ...]:
    add = example.bench.blobs.add
    return tuple(
        Predicted(submission, fold, *(add(npy.dumps(outcome.arrays[part])) for part in ("train", "test")))
        for (submission, fold), outcome in outcomes.items()
    )


def ensemble(
    example: Example, outcomes: dict[tuple[int, int], Outcome], *metrics: str, blend: bool = False
) -> Any:
    order = EnsembleOrder(
        "job", 1, example.data, ROOM, metrics, example.fold_rows(), predicted(example, outcomes), blend
    )
    return succeeded(example.bench.run(order)).facts


@pytest.fixture(scope="module")
def forests(iris: Example) -> dict[tuple[int, int], Outcome]:
    """Two submissions on every fold."""
    folders = {1: "", 2: "other"}
    return {
        (submission, fold): succeeded(iris.run(fold, iris.submission("classifier", folder), "accuracy"))
        for submission, folder in folders.items()
        for fold in range(3)
    }


def test_folds_are_bagged_one_after_the_other(iris: Example, forests: dict[tuple[int, int], Outcome]) -> None:
    outcomes = {key: outcome for key, outcome in forests.items() if key[0] == 1}
    facts = ensemble(iris, outcomes, "accuracy", "neg_log_loss")
    classes = np.unique(iris.y_train)
    valid, test, rows = [], [], np.array([], dtype=int)
    for number, (_, test_is) in enumerate(iris.folds):
        rows = np.concatenate([rows, test_is])
        proba = np.concatenate([outcomes[1, n].arrays["train"][iris.folds[n][1]] for n in range(number + 1)])
        valid.append(accuracy_score(iris.y_train[rows], classes[proba.argmax(axis=1)]))
        mean = np.mean([outcomes[1, n].arrays["test"] for n in range(number + 1)], axis=0)
        test.append(-log_loss(iris.y_test, mean, labels=classes))
    assert facts["bagged"]["valid"]["accuracy"] == valid
    assert facts["bagged"]["test"]["neg_log_loss"] == pytest.approx(test, rel=1e-14)
    assert list(facts["scores"]) == ["0", "1", "2"]


def test_a_metric_added_later_scores_what_is_there(
    iris: Example, forests: dict[tuple[int, int], Outcome]
) -> None:
    outcomes = {key: outcome for key, outcome in forests.items() if key[0] == 1}
    facts = ensemble(iris, outcomes, "accuracy", "balanced_accuracy")
    for (_, fold), outcome in outcomes.items():
        for part, scores in outcome.scores.items():
            assert facts["scores"][str(fold)][part]["accuracy"] == scores["accuracy"]
    assert "balanced_accuracy" in facts["scores"]["0"]["test"]


def test_blending_shares_what_the_ensemble_owes_to_each(
    iris: Example, forests: dict[tuple[int, int], Outcome]
) -> None:
    facts = ensemble(iris, forests, "neg_log_loss", blend=True)
    assert set(facts["contributivity"]) == {"1", "2"}
    assert sum(facts["contributivity"].values()) == pytest.approx(1)
    alone = [
        ensemble(iris, {k: o for k, o in forests.items() if k[0] == submission}, "neg_log_loss")
        for submission in (1, 2)
    ]
    best = max(each["bagged"]["valid"]["neg_log_loss"][-1] for each in alone)
    assert facts["bagged"]["valid"]["neg_log_loss"] >= best


def test_a_useless_submission_contributes_nothing(
    iris: Example, forests: dict[tuple[int, int], Outcome]
) -> None:
    files = {
        "classifier.py": "import numpy as np\nclass Classifier:\n    def fit(self, X, y): pass\n"
        "    def predict_proba(self, X): return np.tile([0.0, 0.0, 1.0], (len(X), 1))\n"
    }
    useless = {(3, fold): succeeded(iris.run(fold, files, "accuracy")) for fold in range(3)}
    facts = ensemble(iris, forests | useless, "neg_log_loss", blend=True)
    assert facts["contributivity"]["3"] == 0


def test_scoring_leaves_the_data_set_s_process_as_it_was(iris: Example) -> None:
    """The same fold again, after others were scored in children of the same process, gives the same."""
    first = succeeded(iris.run(2, iris.submission("classifier"), "accuracy"))
    again = succeeded(iris.run(2, iris.submission("classifier"), "accuracy"))
    assert first.scores == again.scores
    assert all(np.array_equal(first.arrays[part], again.arrays[part]) for part in ("train", "test"))
