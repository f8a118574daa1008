"""What a zygote imports for a submission: what users are meant to import, and no more than others can wait for."""

import pytest

from datarun.runner.sandbox.imports import named_in


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("import numpy as np", {"numpy"}),
        (
            "from sklearn.ensemble import RandomForestClassifier",
            {"sklearn.ensemble", "sklearn.ensemble.RandomForestClassifier"},
        ),
        ("    import scipy.stats", {"scipy.stats"}),
        ("import os\nfrom pathlib import Path", set()),
        ("import sklearnex\nimport numpyro", set()),
        ("# import numpy", set()),
    ],
)
def test_modules_and_classes_are_found_in_the_text(source: str, named: set[str]) -> None:
    assert named_in(source) == named


@pytest.mark.parametrize("module", ["numpy._core", "sklearn.conftest", "scipy.test", "numpy.distutils"])
def test_what_is_not_meant_for_users_is_left_to_the_fold(module: str) -> None:
    assert named_in(f"import {module}") <= {module.partition(".")[0]}


def test_a_file_that_names_thousands_has_the_zygote_import_a_few() -> None:
    many = "\n".join(f"import sklearn.made_up_{number}" for number in range(10_000))
    assert len(named_in(many)) == 200
