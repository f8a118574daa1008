"""Labels of what is to be predicted are nowhere: not in memory, files, environment, descriptors or parents.

A fold looks for them with `common/search.py`, after it has put a canary wherever that looks: who does not find
its canary has not looked. Those rows that it may train on have labels too, which it must find.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from datarun.contract.messages import Data, Limits
from tests.bench import succeeded
from tests.sandbox.common import search
from tests.sandbox.lab import COMMON, SANDBOX, Lab

pytestmark = SANDBOX

PLACES = ("memory", "objects", "files", "environment", "descriptors")
ROWS, TRAIN, FITTED = 60, 40, 24

SUBMISSION = """
import json, os, sys, tempfile
from .right import Right
from . import search

# Put together when it runs: nothing that looks like a canary is in this text.
CANARIES = {{place: number for number, place in enumerate({places!r}, {first})}}


class {cls}(Right):
    predict = lambda self, X: self.predict_proba(X)[:, 0]

    def predict_proba(self, X):
        if len(X) == {n_test}:
            self.search()
        return super().predict_proba(X)

    def search(self):
        zygote = os.path.abspath("../../..")
        own = [os.getcwd(), zygote, *{files!r}, *(os.path.join(zygote, "data", name) for name in {data!r})]
        looks = (
            ("memory", search.in_memory),
            ("objects", search.in_objects),
            ("files", lambda: search.in_files(own)),
            ("environment", search.in_environment),
            ("descriptors", search.in_descriptors),
        )
        read, write = os.pipe()
        with tempfile.TemporaryFile(dir=os.getcwd()) as file:
            found = {{}}
            for place, look in looks:
                canary = search.text(CANARIES[place])
                if place == "objects":
                    self.held = [{{"key": (canary, search.number(CANARIES[place] + 1000))}}]
                elif place == "files":
                    with open("canary", "w") as canaries:
                        canaries.write(canary)
                elif place == "environment":
                    os.environ["CANARY"] = canary
                elif place == "descriptors":
                    file.write(canary.encode())
                    file.flush()
                    os.write(write, search.number(CANARIES[place] + 1000).to_bytes(8, "little"))
                found[place] = sorted(look())
            found["parent"] = sorted(search.in_process(os.getppid()))
            found["runner"] = sorted(search.in_process({runner}))
        print(json.dumps(found))
"""

MODULE = """
import os
from importlib import import_module
READABLE_BY_SUBMISSIONS = ["readable.txt"]

def prepare_data(path): pass

def _part(path, name):
    lines = open(os.path.join(path, name)).read().splitlines()
    return [line.split(",")[0] for line in lines], [line.split(",")[1] for line in lines]

def get_train_data(path): return _part(path, "train.csv")

def get_test_data(path): return _part(path, "test.csv")

def train_submission(module_path, X, y, train_indices):
    classifier = import_module(".classifier", module_path).Classifier()
    classifier.fit([X[i] for i in train_indices], [y[i] for i in train_indices])
    return classifier

def test_submission(trained_model, X, test_indices):
    return trained_model.predict_proba([X[i] for i in test_indices])
"""

KIT = """
import os
from importlib import import_module
import numpy as np
import rampwf as rw

problem_title = "labels"

class Predictions(rw.prediction_types.base.BasePrediction):
    def __init__(self, y_pred=None, y_true=None, n_samples=None, fold_is=None):
        values = y_true if y_pred is None else y_pred
        self.y_pred = np.array(values if fold_is is None else values[fold_is])

class Right(rw.score_types.BaseScoreType):
    name, precision, is_lower_the_better = "right", 1, False

    def score_function(self, truth, predictions):
        return float(len(set(truth.y_pred)) == len(predictions.y_pred))

score_types = [Right()]

class Workflow:
    element_names = ["classifier"]

    def train_submission(self, module_path, X, y, train_is=None):
        classifier = import_module(".classifier", os.path.basename(module_path)).Classifier()
        classifier.fit(X[1][train_is], y[train_is])
        return classifier

    def test_submission(self, trained_model, X):
        return trained_model.predict_proba(X[1])

workflow = Workflow()

def get_cv(X, y): yield np.arange(30), np.arange(30, len(y))

def _part(path, name):
    lines = open(os.path.join(path, "data", name)).read().splitlines()
    X = np.array([line.split(",")[0] for line in lines])
    y = np.array([line.split(",")[1] for line in lines], dtype=object)
    return (os.path.join(path, "data", "pictures"), X), y

def get_train_data(path="."): return _part(path, "train.csv")

def get_test_data(path="."): return _part(path, "test.csv")
"""


@dataclass(frozen=True)
class Case:
    """A data set, its labels by row, and how many of them a fold may have."""

    data: Data
    element: str
    labels: list[int]
    allowed: int
    metrics: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab.open(tmp_path_factory) as lab:
        yield lab


def make(lab: Lab, kind: str) -> Case:
    """Rows in order: those to train on, those to validate with, those to test with."""
    if kind == "numbers":
        labels = random.sample(range(1 << 31, 1 << 32), ROWS)
        lines = [f"{row},{search.number(label)}" for row, label in enumerate(labels)]
    else:
        labels = [random.getrandbits(96) for _ in range(ROWS)]
        lines = [f"{row},{search.text(label)}" for row, label in enumerate(labels)]
    if kind == "module":
        files = {
            "module.py": MODULE,
            "train.csv": "\n".join(lines[:TRAIN]),
            "test.csv": "\n".join(lines[TRAIN:]),
            "readable.txt": search.text(7),
        }
        data = Data(lab.bench.files(files), "y", module="module.py", n_train=TRAIN, n_test=ROWS - TRAIN)
        return Case(data, "classifier", labels, TRAIN)
    if kind == "kit":
        files = {
            "problem.py": KIT,
            "data/train.csv": "\n".join(lines[:TRAIN]),
            "data/test.csv": "\n".join(lines[TRAIN:]),
            "data/pictures/readable.txt": search.text(7),
        }
        files = lab.bench.files(files)
        data = Data(files, "", module="problem.py", kit=True, n_train=TRAIN, n_test=ROWS - TRAIN)
        return Case(data, "classifier", labels, TRAIN, ("right",))
    path = lab.outside / f"{kind}.csv"
    path.write_text("\n".join(["x,y", *lines]))
    data = lab.bench.csv(path, "y", (range(TRAIN), range(TRAIN, ROWS)))
    path.unlink()
    return Case(data, "regressor" if kind == "numbers" else "classifier", labels, FITTED)


def found(lab: Lab, case: Case) -> dict[str, set[int]]:
    """Place → the labels that a fold finds there."""
    places = lab.surroundings()
    files = [places["CACHE"], places["SCRATCH"], "/tmp", "/dev/shm"]
    text = SUBMISSION.format(
        places=PLACES,
        first=FIRST,
        cls=case.element.title(),
        n_test=ROWS - TRAIN,
        files=files,
        data=[*case.data.files],
        runner=os.getpid(),
    )
    submission = {path.name: path.read_text() for path in COMMON.glob("*.py")} | {f"{case.element}.py": text}
    limits = Limits(60.0, 2 << 30)
    order = lab.bench.fold(
        case.data,
        (case.element,),
        submission,
        range(FITTED),
        limits,
        test_is=lab.bench.indices(range(FITTED, TRAIN)),
        metrics=case.metrics,
    )
    if case.metrics:  # whoever has all labels was there before
        scores = succeeded(lab.bench.run(order)).scores
        assert scores == {part: {"right": 1.0} for part in ("train", "valid", "test")}
    told: dict[str, Any] = json.loads(succeeded(lab.bench.run(order)).log)
    return {place: set(numbers) for place, numbers in told.items()}


#: The numbers of canaries, by which no row is labelled.
FIRST = 100


@pytest.mark.parametrize("kind", ["text", "numbers", "module", "kit"])
def test_no_label_that_is_to_be_predicted_is_found(lab: Lab, kind: str) -> None:
    case = make(lab, kind)
    seen = found(lab, case)
    for number, place in enumerate(PLACES, FIRST):
        assert number in seen[place], f"{place} was not searched"
    for place in ("objects", "descriptors"):
        assert FIRST + PLACES.index(place) + 1000 in seen[place]

    allowed, hidden = set(case.labels[: case.allowed]), set(case.labels[case.allowed :])
    assert len(hidden) == ROWS - case.allowed
    for place, numbers in seen.items():
        assert not numbers & hidden, place
    assert allowed <= seen["memory"]
    assert seen["parent"] == seen["runner"] == set()
    assert (7 in seen["files"]) == (kind in ("module", "kit"))  # the one file that the data set lets everybody read


HOLDER = """
import os, sys
sys.path.insert(0, sys.argv[1])
import search
held = search.text(int(sys.argv[2]))
os.pipe()
print(flush=True)
sys.stdin.read()
"""


def test_the_search_of_another_process_finds_what_is_there(tmp_path: Path) -> None:
    """Outside of the sandbox, where nothing keeps a process from looking into its children."""
    (tmp_path / "file").write_text(search.text(3))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(COMMON), "1"],
        env=os.environ | {"CANARY": search.text(2)},
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert search.in_process(holder.pid) >= {1, 2, 3}
    finally:
        holder.kill()
        holder.communicate()
