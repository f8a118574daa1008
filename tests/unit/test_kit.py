"""What a RAMP kit tells before anything is submitted to it: about itself, and what is wrong with it."""

import sys
import textwrap
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from datarun.runner.sandbox.task import Task
from datarun.runner.scoring.kit import KitScoring
from datarun.runner.workflows import Prepared
from datarun.runner.workflows.kit import DATA_SET, import_problem
from tests.kits.toy import PROBLEM

FILES = "[os.path.join('data', f'{number}.txt') for number in range(8)]"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kit's folder. What a kit changes in its process is undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "problem", ModuleType("problem"))
    (tmp_path / "data").mkdir()
    for number in range(8):
        (tmp_path / "data" / f"{number}.txt").touch()
    return tmp_path


def prepare(
    folder: Path, changes: str = "", data_label: str | None = None, metrics: tuple[str, ...] = ()
) -> Prepared:
    (folder / "problem.py").write_text(PROBLEM + textwrap.dedent(changes))
    task = Task("prepare", 1, 1, data_set="kit", data_label=data_label, metrics=metrics)
    return DATA_SET.prepare(task, folder / "problem.py")


def test_a_kit_tells_about_itself(folder: Path) -> None:
    prepared = prepare(folder)
    assert prepared.facts == {
        "title": "Toy",
        "elements": ["regressor"],
        "metrics": [{"name": "rmse", "lower_is_better": True}],
    }
    assert (prepared.n_train, prepared.n_test) == (8, 4)
    assert [[rows.tolist() for rows in fold] for fold in prepared.folds] == [[[0, 1, 2, 3, 4], [5, 6, 7]]]
    assert prepared.readable == ["problem.py"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ("del get_cv", "problem.py lacks get_cv."),
        ("del problem_title", "problem.py lacks problem_title."),
        ("def get_cv(X, y): yield [0, 1], [8]", "Fold 0 names row 8: the train part has 8 rows"),
        ("def get_cv(X, y): yield [], [1]", "Fold 0 has no rows to train on."),
        ("def get_cv(X, y): return []", "There are no folds."),
        ("def get_cv(X, y): return [([0], [1])] * 1001", "more than 1000 folds"),
        ("def get_cv(X, y): yield ['a'], [1]", "indices are wanted"),
        ("score_types = score_types * 2", "Two score types are named 'rmse': give one of them another name."),
        ("score_types = []", "score_types is empty"),
        ("Predictions = rw.prediction_types.make_multiclass(['a'])", "'0.0' is not in list"),
        ("def get_test_data(path): return None, np.arange(4.0)", "get_test_data gives labels, but no X."),
    ],
)
def test_what_is_wrong_with_a_kit_is_found_when_it_is_prepared(
    folder: Path, changes: str, reason: str
) -> None:
    with pytest.raises(Exception, match=reason):
        prepare(folder, changes)


def test_a_label_that_the_kit_does_not_take_is_told(folder: Path) -> None:
    with pytest.raises(Exception, match="get_train_data takes no data_label: post the kit without one"):
        prepare(folder, data_label="valley")


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        ("RMS", "Unknown metric 'RMS': did you mean .*RMSE"),
        ("SoftAccuracy", "The score type SoftAccuracy needs arguments: add it to problem.py."),
        ("Rows", "Unknown metric"),
    ],
)
def test_a_metric_that_there_is_not_is_found_when_the_kit_is_prepared(
    folder: Path, metric: str, reason: str
) -> None:
    with pytest.raises(Exception, match=reason):
        prepare(folder, metrics=(metric,))


def naming(names: str) -> str:
    return f"def get_train_data(path): return {names}, np.arange(8.0)\n"


@pytest.mark.parametrize(
    "names",
    [
        "(os.path.join(path, 'data'), np.arange(8))",
        f"np.array({FILES})",
        FILES,
        f"({FILES}, np.arange(8))",
    ],
)
def test_files_among_the_labels_are_shown_to_submissions_only_if_the_kit_says_so(
    folder: Path, names: str
) -> None:
    with pytest.raises(Exception, match=r'READABLE_BY_SUBMISSIONS = \["data"\]'):
        prepare(folder, naming(names))
    prepared = prepare(folder, naming(names) + 'READABLE_BY_SUBMISSIONS = ["data"]')
    assert prepared.readable == ["problem.py", "data"]


def test_files_in_a_folder_of_their_own_are_shown_to_submissions(folder: Path) -> None:
    (folder / "data" / "files").mkdir()
    (folder / "data" / "files" / "0.txt").touch()
    (folder / "external_imports").mkdir()
    names = FILES.replace("'data'", "'data', 'files'")
    for each in (f"np.array({names})", "('data/files', [0])"):
        assert prepare(folder, naming(each)).readable == ["problem.py", "external_imports", "data/files"]


def test_texts_that_only_look_like_names_of_files_open_nothing(folder: Path) -> None:
    names = (
        "['/etc/passwd', '../data', 'no/such', 'and/or' * 2000, 'a' * 300 + '/', 'a\\0/b', 'data', '.', '']"
    )
    assert prepare(folder, naming(names)).readable == ["problem.py"]


def test_bagged_scores_are_nan_where_the_metric_can_not_score(folder: Path) -> None:
    (folder / "problem.py").write_text(
        PROBLEM
        + "Predictions = rw.prediction_types.make_multiclass([0, 1])\nscore_types = [rw.score_types.ROCAUC()]\n"
    )
    scoring = KitScoring(("roc_auc",), import_problem(folder))
    y, predictions = np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]])
    (values,) = scoring.bag(y, [predictions] * 2, [np.array([0, 1]), np.array([2, 3])]).values()
    assert np.isnan(values[0])
    assert values[1] == 1.0
