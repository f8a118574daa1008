"""Workflow elements: which may be named together, and what is wrong with the others."""

import pytest

from datarun.contract.elements import ELEMENT_CLASSES, elements_problem, parse_elements


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("classifier", ("classifier",)),
        ("feature_extractor, classifier", ("feature_extractor", "classifier")),
        (" feature_extractor ,classifier,\n", ("feature_extractor", "classifier")),
        (",", ()),
        ("", ()),
    ],
)
def test_a_comma_separated_list_is_parsed(text: str, elements: tuple[str, ...]) -> None:
    assert parse_elements(text) == elements


@pytest.mark.parametrize(
    "elements",
    [
        ("classifier",),
        ("regressor",),
        ("feature_extractor", "classifier"),
        ("feature_extractor", "regressor"),
        ("classifier", "calibrator"),
        ("calibrator", "classifier", "feature_extractor"),
    ],
)
def test_what_the_built_in_workflow_can_run_is_accepted(elements: tuple[str, ...]) -> None:
    assert elements_problem(elements, custom=False) is None
    assert elements_problem(elements, custom=True) is None


@pytest.mark.parametrize(
    ("elements", "problem"),
    [
        ((), "at least one"),
        (("classifier", "classifier"), "twice"),
        (("classifier", "../x"), "'../x' can't name"),
        (("classifier", "a b"), "'a b' can't name"),
        (("classifier", "1st"), "'1st' can't name"),
        (("classifier", "clustering"), "Unknown workflow element 'clustering': choose from feature_"),
        (("classifier", "regressor"), "one predictor"),
        (("feature_extractor",), "one predictor"),
        (("calibrator",), "one predictor"),
        (("regressor", "calibrator"), "name 'classifier' too"),
    ],
)
def test_the_problem_is_named(elements: tuple[str, ...], problem: str) -> None:
    said = elements_problem(elements, custom=False)
    assert said is not None
    assert problem in said


def test_a_custom_module_may_name_elements_of_its_own() -> None:
    assert elements_problem(("tokenizer", "language_model"), custom=True) is None


@pytest.mark.parametrize("elements", [(), ("a", "a"), ("a/b",), ("a.b",), ("",)])
def test_a_custom_module_too_needs_elements_that_can_name_modules(elements: tuple[str, ...]) -> None:
    assert elements_problem(elements, custom=True) is not None


def test_every_element_has_the_class_that_submitters_know() -> None:
    assert ELEMENT_CLASSES == {
        "feature_extractor": "FeatureExtractor",
        "classifier": "Classifier",
        "regressor": "Regressor",
        "calibrator": "Calibrator",
    }
