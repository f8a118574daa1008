"""Unlucky submissions: each ends in the right kind of failure, with words that its author can use.

Those that crash, exhaust or attack what they run on are cases of `tests/sandbox`.
"""

from collections.abc import Iterator

import numpy as np
import pytest

from datarun.contract.messages import Outcome
from tests.bench import Bench, Stages, classifier, succeeded


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench.serving(tmp_path_factory.mktemp("bench")) as bench:
        yield bench


def assert_told(bench: Bench, outcome: Outcome, failure: str, *words: str) -> None:
    assert outcome.failure == failure, outcome
    for word in words:
        assert word in outcome.message
    assert str(bench.scratch) not in outcome.message + outcome.log
    assert outcome.arrays == {}


def assert_traceback(bench: Bench, outcome: Outcome, *words: str) -> None:
    """It starts in the submission's own file, and has none of our frames."""
    assert_told(bench, outcome, "user_error", *words)
    assert outcome.message.splitlines()[0] == "Traceback (most recent call last):"
    assert outcome.message.splitlines()[1].lstrip().startswith('File "classifier.py", line ')
    assert "datarun" not in outcome.message
    assert "importlib" not in outcome.message


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["fit", "predict"])
def test_an_exception(bench: Bench, where: str) -> None:
    outcome = bench.toy(classifier(**{where: "raise ValueError('no luck')"}))
    assert_traceback(bench, outcome, "raise ValueError('no luck')", "ValueError: no luck")


def test_an_exception_while_importing(bench: Bench) -> None:
    assert_traceback(bench, bench.toy(classifier(top="1 / 0")), "in <module>", "ZeroDivisionError")


def test_an_exception_with_causes(bench: Bench) -> None:
    outcome = bench.toy(
        classifier(
            fit="""
            try:
                {}["colour"]
            except KeyError as error:
                raise ValueError("outer") from error
            """
        )
    )
    assert_traceback(bench, outcome, "KeyError: 'colour'", "direct cause", "ValueError: outer")


def test_an_exception_that_can_not_say_itself(bench: Bench) -> None:
    top = "class Bad(Exception):\n    def __str__(self): raise RuntimeError\n"
    assert_traceback(bench, bench.toy(classifier(top=top, fit="raise Bad")), "Bad")


def test_a_syntax_error(bench: Bench) -> None:
    outcome = bench.toy({"classifier.py": "class Classifier:\n    def"})
    assert_told(bench, outcome, "user_error", "SyntaxError: invalid syntax")
    assert outcome.message.splitlines()[0] == 'File "classifier.py", line 2'


def test_a_module_that_is_not_installed(bench: Bench) -> None:
    outcome = bench.toy(classifier(top="import unobtainable"))
    assert_traceback(bench, outcome, "No module named 'unobtainable'")


def test_a_missing_class(bench: Bench) -> None:
    outcome = bench.toy({"classifier.py": "class Clasifier: pass"})
    assert_told(bench, outcome, "user_error", "has no attribute 'Classifier'")


def test_an_error_of_a_submission_that_replaced_its_output(bench: Bench) -> None:
    outcome = bench.toy(classifier(fit="sys.stdout = sys.stderr = None; raise ValueError('no luck')"))
    assert_traceback(bench, outcome, "ValueError: no luck")


# --- predictions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("np.arange(len(X) * 2).reshape(2, -1).T", [[0, 4], [1, 5], [2, 6], [3, 7]]),
        ("np.arange(len(X) * 4).reshape(len(X), 4)[:, ::2]", [[0, 2], [4, 6], [8, 10], [12, 14]]),
        ("np.full((len(X), 1), 0.1, dtype=np.float32)", np.full((4, 1), np.float32(0.1))),
        ("np.arange(len(X), dtype='>i2')", [0, 1, 2, 3]),
        ("[x % 2 == 0 for x in X]", [1, 0, 1, 0]),
        ("np.array(X).view(np.ma.MaskedArray)", [0, 1, 2, 3]),
        ("(x / 3 for x in X).__class__ and [x / 3 for x in X]", np.arange(4) / 3),
    ],
)
def test_numbers_of_any_type_and_layout_are_accepted(bench: Bench, values: str, expected: object) -> None:
    array = succeeded(bench.toy(classifier(predict=f"return {values}"))).arrays["test"]
    assert array.dtype == np.float64
    assert array.flags.c_contiguous
    np.testing.assert_array_equal(array, np.asarray(expected, dtype=np.float64))


# --- what it prints -------------------------------------------------------------------------------


def test_the_log_holds_what_was_printed(bench: Bench) -> None:
    fit = "print('to stdout'); print('to stderr', file=sys.stderr); os.system('echo from below')"
    outcome = succeeded(bench.toy(classifier(fit=fit)))
    assert outcome.log.splitlines() == ["to stdout", "to stderr", "from below"]


def test_the_log_of_a_failed_fold_is_kept(bench: Bench) -> None:
    outcome = bench.toy(classifier(fit="print('epoch 1'); os._exit(1)"))
    assert outcome.log == "epoch 1\n"


# --- what it reports ------------------------------------------------------------------------------


def test_stages_are_told_once_and_in_their_order_whatever_it_says(bench: Bench) -> None:
    stages = Stages()
    said = [{"event": "stage", "stage": stage} for stage in ("validated", "finished", ["trained"])]
    said += [{"event": "stage"}, *[{"event": "stage", "stage": "trained"}] * 1000]
    fit = f"for report in {said!r}: os.write(3, json.dumps(report).encode() + b'\\n')"
    succeeded(bench.toy(classifier(fit=fit, top="import json"), watcher=stages))
    assert stages.reached == ["trained", "validated"]


def test_measures_that_it_invents_are_numbers_or_left_out(bench: Bench) -> None:
    measures = (
        '{"train_time": 1e400, "test_time": -1, "train_cpu_time": NaN, "test_cpu_time": "1", '
        '"train_memory": [1], "invented": 1, "validation_time": 2}'
    )
    said = f'{{"event": "failed", "message": "x", "measures": {measures}}}\n'.encode()
    outcome = bench.toy(classifier(fit=f"os.write(3, {said!r}); os._exit(0)"))
    assert outcome.measures == {"validation_time": 2.0}
