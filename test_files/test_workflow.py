"""Drive the whole workflow of a datarun platform on each example, and check what comes back, bit by bit.

    python test_files/test_workflow.py [HOST USER PASSWORD] [--only NAME] [--timeout SECONDS]

For each example: post the data, prepare it, post two folds of one submission, wait for them, get the
predictions of the first by its id ("Oh yeah 1!") and those of the second as what is new ("Oh yeah 2!").
What they must equal is computed here with scikit-learn, pandas and numpy alone: this file imports nothing
of datarun, so it also says, in code, what a fold does. It can be run again on the same platform; but the
submissions 1 to 3 and the folds 1 to 6 that it finds there are replaced, whosever they are.

The exit code is 0 when everything was equal, and 1 otherwise, with what differed.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import requests
from sklearn.model_selection import ShuffleSplit, train_test_split

# So that this module can be imported from anywhere, as it can be run from anywhere.
sys.path.append(str(Path(__file__).resolve().parent))

import post_api

__test__ = False  # a script, in spite of its name: nothing here is for pytest to collect

HERE = Path(__file__).resolve().parent
HELD_OUT_TEST = 0.25
RANDOM_STATE = 42
POLL_PERIOD = 0.2  # seconds
FINISHED = {"TESTED", "ERROR"}

Indices = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


class WorkflowError(Exception):
    """The platform refused a call, a fold failed or didn't finish in time, or predictions differ."""


class Platform(NamedTuple):
    """What every function of post_api takes first."""

    host_url: str
    username: str
    password: str


@dataclass(frozen=True)
class Example:
    """A data set with a submission, in the folder of its name."""

    name: str
    target_column: str
    workflow_elements: str
    data_file: str
    submission_files: tuple[str, ...]
    submission_id: int
    extra_files: tuple[str, ...] = ()
    custom_module: str | None = None

    @property
    def data_name(self) -> str:
        """A name of this script's own: nobody else's folds are then among the data set's new ones."""
        return f"test_workflow_{self.name}"

    @property
    def fold_ids(self) -> tuple[int, int]:
        return 2 * self.submission_id - 1, 2 * self.submission_id

    def path(self, file_name: str) -> Path:
        return HERE / self.name / file_name

    def paths(self, file_names: Sequence[str]) -> list[Path]:
        return [self.path(file_name) for file_name in file_names]


EXAMPLES = (
    Example(
        name="iris",
        target_column="species",
        workflow_elements="classifier",
        data_file="iris.csv",
        # Beyond the workflow's elements: accepted and left unused.
        submission_files=("classifier.py", "feature_extractor.py", "calibrator.py"),
        submission_id=1,
    ),
    Example(
        name="diabetes",
        target_column="progression",
        workflow_elements="regressor",
        data_file="diabetes.csv",
        submission_files=("regressor.py",),
        submission_id=2,
    ),
    Example(
        name="digits",
        target_column="label",
        workflow_elements="feature_extractor, classifier, calibrator",
        data_file="data.csv",
        extra_files=("pixels.csv.gz", "digits_datarun.py"),
        custom_module="digits_datarun.py",
        submission_files=("feature_extractor.py", "classifier.py", "calibrator.py"),
        submission_id=3,
    ),
)


# What the platform must answer, computed locally


class Predictions(NamedTuple):
    """Of one fold, flat in C order: for the whole train part, and for the held-out test part."""

    full_train_predictions: Values
    test_predictions: Values


class Fold(NamedTuple):
    """One cross-validation fold of the train part, with the predictions expected of it."""

    id: int
    train_is: Indices
    test_is: Indices
    expected: Predictions


def local_folds(example: Example) -> list[Fold]:
    """Train and test the example's submission here, on each of its two folds."""
    prepare = local_custom if example.custom_module else local_csv
    with prepare(example) as (n_train, predict):
        splitter = ShuffleSplit(n_splits=2, test_size=0.3, random_state=RANDOM_STATE)
        splits = splitter.split(np.zeros(n_train))
        return [
            Fold(fold_id, train_is, test_is, predict(train_is))
            for fold_id, (train_is, test_is) in zip(example.fold_ids, splits, strict=True)
        ]


@contextmanager
def local_csv(example: Example) -> Iterator[tuple[int, Callable[[Indices], Predictions]]]:
    """A csv, shuffled and split; a classifier or a regressor on X as an array.

    Gives the number of rows of the train part, and a function from the rows to train on to the predictions.
    """
    data = pd.read_csv(example.path(example.data_file))
    train, test = train_test_split(data, test_size=HELD_OUT_TEST, random_state=RANDOM_STATE)
    train, test = train.reset_index(drop=True), test.reset_index(drop=True)
    X_train = np.array(train.drop(columns=example.target_column))
    X_test = np.array(test.drop(columns=example.target_column))
    y_train = np.array(train[example.target_column])
    submission = load_module(example.path(f"{example.workflow_elements}.py"))

    def predict(train_is: Indices) -> Predictions:
        if example.workflow_elements == "classifier":
            model = submission.Classifier()
            model_predict = model.predict_proba
        else:
            model = submission.Regressor()
            model_predict = model.predict
        model.fit(X_train[train_is], y_train[train_is])
        return Predictions(flat(model_predict(X_train)), flat(model_predict(X_test)))

    yield len(train), predict


@contextmanager
def local_custom(example: Example) -> Iterator[tuple[int, Callable[[Indices], Predictions]]]:
    """A custom module, run on a copy of the raw files, with the submission as an importable package.

    Gives the same as :func:`local_csv`.
    """
    assert example.custom_module is not None
    package = f"local_submission_{example.submission_id}"
    with tempfile.TemporaryDirectory() as folder:
        raw_files = [example.data_file, *example.extra_files]
        raw_data_path = copy_files(example.paths(raw_files), Path(folder, "raw"))
        copy_files(example.paths(example.submission_files), Path(folder, package))
        Path(folder, package, "__init__.py").touch()
        custom = load_module(Path(raw_data_path, example.custom_module))
        custom.prepare_data(raw_data_path)
        X_train, y_train = custom.get_train_data(raw_data_path)
        X_test, _ = custom.get_test_data(raw_data_path)

        def predict(train_is: Indices) -> Predictions:
            model = custom.train_submission(package, X_train, y_train, train_is)
            full_train = custom.test_submission(model, X_train, np.arange(len(X_train)))
            held_out = custom.test_submission(model, X_test, np.arange(len(X_test)))
            return Predictions(flat(full_train), flat(held_out))

        sys.path.append(folder)
        try:
            yield len(X_train), predict
        finally:
            sys.path.remove(folder)
            for name in [name for name in sys.modules if name.split(".")[0] == package]:
                del sys.modules[name]


def load_module(path: Path) -> ModuleType:
    """Import a file from where it is, without making its folder importable."""
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def copy_files(paths: Sequence[Path], folder: Path) -> str:
    folder.mkdir()
    for path in paths:
        shutil.copy(path, folder)
    return str(folder)


def flat(predictions: npt.ArrayLike) -> Values:
    return np.asarray(predictions, dtype=np.float64).ravel()


# The same on the platform


def run_example(platform: Platform, example: Example, timeout: float) -> None:
    """Drive one example through the platform; ``timeout`` in seconds, for its two folds together.

    :raises WorkflowError: with what went wrong or differed
    :raises requests.RequestException: the platform doesn't answer
    """
    first, second = local_folds(example)
    raw_data_id = post_data(platform, example)
    post_folds(platform, example, raw_data_id, first, second)
    wait_until_tested(platform, example.fold_ids, timeout)

    listed = answer(post_api.get_prediction_list(*platform, [first.id]))
    check("the list asked for", listed, first)
    print("Oh yeah 1!")
    new = answer(post_api.get_prediction_new(*platform, raw_data_id))
    check("what is new", new, second)
    print("Oh yeah 2!")


def post_data(platform: Platform, example: Example) -> int:
    """Post the example's data, unless an earlier run has, have it prepared, and give its id."""
    response = post_api.post_data(
        *platform,
        example.data_name,
        example.target_column,
        example.workflow_elements,
        example.path(example.data_file),
        extra_files=example.paths(example.extra_files),
    )
    if "RawData with this name already exists" in response.text:
        raw_data = answer(post_api.get_raw_data(*platform))
        raw_data_id = next(one["id"] for one in raw_data if one["name"] == example.data_name)
    else:
        raw_data_id = answer(response)["id"]
    if example.custom_module:
        answer(post_api.custom_post_split(*platform, raw_data_id))
    else:
        answer(post_api.post_split(*platform, HELD_OUT_TEST, raw_data_id, RANDOM_STATE))
    return int(raw_data_id)


def post_folds(platform: Platform, example: Example, raw_data_id: int, first: Fold, second: Fold) -> None:
    """Post the submission with its first fold, then its second fold without files, plainly and by force."""
    answer(
        post_api.post_submission_fold(
            *platform,
            example.submission_id,
            first.id,
            first.train_is,
            first.test_is,
            raw_data_id=raw_data_id,
            list_submission_files=example.paths(example.submission_files),
            force="submission, submission_fold",
        )
    )
    post_second = (*platform, example.submission_id, second.id, second.train_is, second.test_is)
    plain = post_api.post_submission_fold(*post_second)
    # It is there already when it belonged to another submission, which the first fold didn't replace.
    if plain.status_code not in (400, 409):
        answer(plain)
    answer(post_api.post_submission_fold(*post_second, force="submission_fold"))


def wait_until_tested(platform: Platform, fold_ids: Sequence[int], timeout: float) -> None:
    """Poll the light list until the folds are finished, and raise the log of one that failed."""
    deadline = time.monotonic() + timeout
    while True:
        folds = answer(post_api.get_submission_fold_light(*platform))
        states = {fold["databoard_sf_id"]: fold["state"] for fold in folds}
        waited_for = {fold_id: states.get(fold_id, "not listed") for fold_id in fold_ids}
        if FINISHED.issuperset(waited_for.values()):
            break
        if time.monotonic() > deadline:
            seen = ", ".join(f"fold {fold_id} is {state}" for fold_id, state in waited_for.items())
            raise WorkflowError(
                f"not finished after {timeout:g} s: {seen}. Is a runner up? Or raise --timeout"
            )
        time.sleep(POLL_PERIOD)
    for fold_id in fold_ids:
        if waited_for[fold_id] == "ERROR":
            detail = answer(post_api.get_submission_fold_detail(*platform, fold_id))
            raise WorkflowError(f"fold {fold_id} ended in ERROR:\n{detail['log_messages']}")


def answer(response: requests.Response) -> Any:
    """The JSON of a response that says yes."""
    if not response.ok:
        request = f"{response.request.method} {response.url}"
        raise WorkflowError(f"{request} was answered with {response.status_code}: {response.text[:1000]}")
    return response.json()


def check(source: str, received: Sequence[dict[str, Any]], fold: Fold) -> None:
    """Hold what came back to be this fold alone, with the predictions computed locally, to the last bit."""
    ids = [one["databoard_sf_id"] for one in received]
    if ids != [fold.id]:
        raise WorkflowError(f"{source} should hold fold {fold.id} alone, and holds {ids}")
    for field, expected in fold.expected._asdict().items():
        values = decode(received[0][field])
        if not np.array_equal(values, expected):
            raise WorkflowError(f"fold {fold.id}, {field}: {difference(values, expected)}")


def decode(text: str) -> Values:
    """Predictions as they are sent: base64(zlib(float64, C order))."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<f8")


def difference(values: Values, expected: Values) -> str:
    if values.shape != expected.shape:
        return f"{values.size} values came back, {expected.size} were expected"
    return f"differs from the local predictions by up to {np.abs(values - expected).max():.3g}"


# The command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the examples; give the exit code."""
    options = parse(arguments)
    platform = Platform(options.host, options.user, options.password)
    failed = []
    for example in EXAMPLES:
        if options.only in (None, example.name):
            print(f"{example.name}:", flush=True)
            try:
                run_example(platform, example, options.timeout)
            except (WorkflowError, requests.RequestException) as error:
                print(f"Oh no: {error}")
                failed.append(example.name)
    if failed:
        print(f"Failed: {', '.join(failed)}")
    return 1 if failed else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Drive the whole workflow on each example and check the predictions.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("host", nargs="?", default="http://127.0.0.1:8000/", help="address of the platform")
    parser.add_argument("user", nargs="?", default="MrTest", help="user's name")
    parser.add_argument("password", nargs="?", default="test", help="user's password")
    parser.add_argument(
        "--only", choices=[example.name for example in EXAMPLES], help="run one example alone"
    )
    parser.add_argument("--timeout", type=float, default=120, help="seconds to wait for an example's folds")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
