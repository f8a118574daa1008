"""What is wrong with a kit or with a submission to it, said to whom it concerns, in their own words."""

import textwrap
from collections.abc import Iterator

import pytest

from datarun.contract.messages import Data, Outcome, PrepareOrder
from tests.bench import ROOM, Bench, succeeded
from tests.integration.test_kits import Posted
from tests.kits.toy import PROBLEM
from tests.sandbox.lab import SANDBOX

pytestmark = SANDBOX


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench.serving(tmp_path_factory.mktemp("bench")) as bench:
        yield bench


@pytest.fixture(scope="module")
def trees(bench: Bench) -> Posted:
    return Posted(bench, "classifier")


def prepare(bench: Bench, files: dict[str, str]) -> Outcome:
    data = Data(bench.files(files), "", module="problem.py", kit=True)
    return bench.run(PrepareOrder("job", 1, data, ROOM))


@pytest.mark.parametrize(
    ("submission", "failure", "stage", "message"),
    [
        (
            "fails_to_train",
            "user_error",
            "",
            """\
            Traceback (most recent call last):
              File "classifier.py", line 3, in fit
                raise ValueError("too few trees")
            ValueError: too few trees""",
        ),
        ("forbidden", "user_error", "", "RuntimeError: forbidden key word open detected in submission."),
        (
            "lacks_its_class",
            "user_error",
            "",
            "AttributeError: module 'classifier' has no attribute 'Classifier'",
        ),
        (
            "fails_to_test",
            "user_error",
            "validated",
            """\
            Traceback (most recent call last):
              File "classifier.py", line 10, in predict_proba
                raise RuntimeError("these trees are new")
            RuntimeError: these trees are new""",
        ),
        (
            "too_few_classes",
            "bad_output",
            "validated",
            "The predictions of the train part: Wrong y_pred dimensions: y_pred should be 2D with 3 columns, "
            "instead its shape is (33, 2)",
        ),
        (
            "not_finite",
            "bad_output",
            "trained",
            "The predictions of the train part are not finite in 48 of 48 rows (NaN or infinite).",
        ),
    ],
)
def test_a_submission_that_fails_is_told_why(
    trees: Posted, submission: str, failure: str, stage: str, message: str
) -> None:
    outcome = trees.run(submission, 0)
    assert (outcome.failure, outcome.stage) == (failure, stage)
    assert outcome.message == textwrap.dedent(message)


def test_a_metric_added_later_is_a_score_type_by_the_name_of_its_class(trees: Posted) -> None:
    outcome = succeeded(trees.run("forest", 0, ("acc", "Accuracy", "NegativeLogLikelihood")))
    for values in outcome.scores.values():
        assert list(values) == ["acc", "Accuracy", "NegativeLogLikelihood"]
        assert values["acc"] == values["Accuracy"]


def test_a_metric_that_there_is_not_is_no_failure_of_the_submission(trees: Posted) -> None:
    outcome = trees.run("forest", 0, ("ROCAUC2",))
    assert outcome.failure == "data"
    assert outcome.message == "While it was scored: Unknown metric 'ROCAUC2': did you mean ROCAUC?"


def test_what_a_kit_raises_is_told_from_its_own_file_on(bench: Bench) -> None:
    outcome = prepare(
        bench, {"problem.py": PROBLEM + "\n\ndef get_cv(X, y):\n    raise ValueError('no folds')\n"}
    )
    lines = outcome.message.splitlines()
    assert outcome.failure == "data"
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].startswith('  File "problem.py", line ')
    assert lines[2:] == ["    raise ValueError('no folds')", "ValueError: no folds"]


def test_a_kit_without_a_problem_is_the_organisers_to_mend(bench: Bench) -> None:
    outcome = prepare(bench, {"problem.txt": PROBLEM})
    assert outcome.failure == "data"
    assert "'problem.py'" in outcome.message


READS = """
with open(os.path.join(os.path.dirname(__file__), "data", "names.txt")) as file:
    names = file.read()
"""


def test_files_that_are_read_on_import_must_be_readable_beside_submissions(bench: Bench) -> None:
    files = {"problem.py": PROBLEM + READS, "data/names.txt": "a b"}
    outcome = prepare(bench, files)
    assert outcome.failure == "data"
    assert "problem.py reads data/names.txt while it is imported" in outcome.message
    assert "READABLE_BY_SUBMISSIONS = ['data/names.txt']" in outcome.message
    files["problem.py"] += "READABLE_BY_SUBMISSIONS = ['data/names.txt']\n"
    succeeded(prepare(bench, files))
