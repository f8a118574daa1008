"""A zygote has imported and run the library code that its children are about to run."""

import time

import pytest
from sklearn.dummy import DummyClassifier

from datarun.runner.sandbox import warmup
from datarun.runner.sandbox.imports import named_in

SOURCE = """
import numpy as np
from sklearn.ensemble import RandomForestClassifier, ExtraTreesClassifier
from sklearn.ensemble._forest import ForestClassifier
from sklearn.experimental import enable_halving_search_cv
from sklearn.pipeline import (make_pipeline, Pipeline)
import submission_of_mine
"""


def test_what_a_submission_imports_is_found_in_its_text() -> None:
    assert named_in(SOURCE) == {
        "numpy",
        "sklearn",
        "sklearn.ensemble",
        "sklearn.ensemble.RandomForestClassifier",
        "sklearn.ensemble.ExtraTreesClassifier",
        "sklearn.pipeline",
        "sklearn.pipeline.Pipeline",
    }


def test_a_named_estimator_is_fitted_and_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    for method in ("fit", "predict", "predict_proba"):
        monkeypatch.setattr(DummyClassifier, method, lambda self, *_, method=method: called.append(method))
    warmup.run_estimators({"sklearn.dummy.DummyClassifier", "numpy", "sklearn.dummy"})
    assert set(called) == {"fit", "predict", "predict_proba"}


def test_estimators_that_take_long_keep_others_waiting_for_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fitted = []

    def fit(self: DummyClassifier, *_: object) -> None:
        fitted.append(self)
        time.sleep(2)  # more than all of them may take

    monkeypatch.setattr(DummyClassifier, "fit", fit)
    warmup.run_estimators({"sklearn.dummy.DummyClassifier", "sklearn.dummy.DummyRegressor"})
    assert len(fitted) == 1
