"""``datarun check``: what a runner would say of a submission, said here."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from datarun.command import main
from tests.bench import TOY, classifier

IRIS = Path(__file__).parents[2] / "test_files" / "iris"
DEFINITION = """
files = ["iris.csv"]
target_column = "species"
elements = ["classifier"]
metrics = ["accuracy"]
cv = { splitter = "StratifiedKFold", parameters = { n_splits = 3 } }
"""
BROKEN = """
class Classifier:
    def fit(self, X, y):
        print("rows", len(X))
        self.depth = self.deep

    def predict_proba(self, X):
        return X
"""


def check(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["check", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set, and a submission in a folder of it."""
    (tmp_path / "iris.csv").write_bytes((IRIS / "iris.csv").read_bytes())
    (tmp_path / "datarun.toml").write_text(DEFINITION)
    mine = tmp_path / "submissions" / "mine"
    mine.mkdir(parents=True)
    (mine / "classifier.py").write_bytes((IRIS / "other" / "classifier.py").read_bytes())
    return tmp_path


def test_a_submission_that_works_is_scored(folder: Path) -> None:
    done = check(folder / "submissions" / "mine", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["state"] == "done"
    assert set(told["scores"]) == {"train", "valid", "test"}
    assert told["scores"]["test"]["accuracy"] > 0.8


def test_one_that_fails_has_its_traceback_and_what_it_printed(folder: Path) -> None:
    (folder / "submissions" / "mine" / "classifier.py").write_text(BROKEN)
    done = check(folder / "submissions" / "mine")
    assert done.exit_code == 1
    assert "Fold 0: failed (user_error)" in done.stdout
    assert 'File "classifier.py", line 5, in fit' in done.stdout
    assert done.stdout.rstrip().endswith("rows 80")
    assert "Prepared: 120 train rows, 30 test rows, 3 folds." in done.stderr


def test_a_sample_has_some_of_each_class(folder: Path) -> None:
    counting = BROKEN.replace("len(X)", "len(X), sorted({str(each) for each in y})")
    (folder / "submissions" / "mine" / "classifier.py").write_text(counting)
    done = check(folder / "submissions" / "mine", "--rows", 10)
    assert "rows 30 ['setosa', 'versicolor', 'virginica']" in done.stdout


def test_a_csv_and_its_options_do_as_well(folder: Path) -> None:
    (folder / "datarun.toml").unlink()
    options = (
        "--data",
        folder / "iris.csv",
        "--target",
        "species",
        "--element",
        "classifier",
        "--cv",
        "KFold",
    )
    done = check(folder / "submissions" / "mine", *options, "--fold", 4, "--json")
    assert done.exit_code == 0, done.output
    done = check(folder / "submissions" / "mine", *options, "--fold", 5)
    assert done.exit_code == 2
    assert "there are 5, numbered from 0" in done.stderr


def test_a_data_set_that_can_not_be_cut_ends_badly(folder: Path) -> None:
    done = check(folder, "--cv", "KFold:n_splits=121", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["failure"] == "data"


def test_a_data_set_alone_is_prepared_and_its_starting_kit_is_run(folder: Path) -> None:
    done = check(folder, "--json")
    assert json.loads(done.stdout) == {"prepared": {"n_train": 120, "n_test": 30, "n_folds": 3}}
    (folder / "submissions" / "mine").rename(folder / "submissions" / "starting_kit")
    assert json.loads(check(folder, "--json").stdout)["state"] == "done"


def test_a_custom_module_runs_as_it_does_there(tmp_path: Path) -> None:
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "datarun.toml").write_text(
        'files = ["toy.py"]\nelements = ["classifier"]\nmetrics = ["accuracy"]\ncv.splitter = "StratifiedKFold"'
    )
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "classifier.py").write_text(str(classifier()["classifier.py"]))
    done = check(mine, "--cv", "StratifiedKFold:n_splits=2", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["scores"]["valid"]["accuracy"] == 0.5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--metric", "acuracy"), "did you mean accuracy"),
        (("--metric", "r2"), "scores regression"),
        (("--cv", "KFolds"), "did you mean"),
        (("--element", "clasifier"), "clasifier"),
        (("--element", "classifier", "--element", "calibrator"), "Missing: calibrator.py"),
    ],
)
def test_what_the_platform_would_refuse_is_refused(folder: Path, change: tuple[str, ...], words: str) -> None:
    done = check(folder / "submissions" / "mine", *change)
    assert done.exit_code == 2
    assert words in done.stderr


def test_without_a_data_set_it_asks_for_one(tmp_path: Path) -> None:
    (tmp_path / "classifier.py").write_text("")
    done = check(tmp_path)
    assert done.exit_code == 2
    assert "--data" in done.stderr


def test_without_the_runner_s_libraries_it_says_how_to_get_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("datarun.runner")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psutil", None)
    done = check(folder / "submissions" / "mine")
    assert done.exit_code == 2
    assert "pip install 'datarun[runner]'" in done.stderr
