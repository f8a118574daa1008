"""Unlucky submissions: each ends in the right kind of failure, with words that its author can use."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from datarun.contract.messages import Outcome
from tests.bench import EVEN, Bench, classifier, succeeded


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench.serving(tmp_path) as bench:
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


def test_an_exception_of_a_length_beyond_reason(bench: Bench) -> None:
    outcome = bench.toy(classifier(fit="raise ValueError('🙂' * 10**6)"))
    assert outcome.failure == "user_error"
    assert outcome.message.endswith("🙂")
    assert len(outcome.message) <= 64 * 1024


def test_an_endless_recursion(bench: Bench) -> None:
    assert_traceback(bench, bench.toy(classifier(fit="self.fit(X, y)")), "RecursionError")


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


@pytest.mark.parametrize("leaving", ["sys.exit(3)", "raise SystemExit(3)", "raise KeyboardInterrupt"])
def test_leaving_by_an_exception(bench: Bench, leaving: str) -> None:
    assert_traceback(bench, bench.toy(classifier(fit=leaving)), leaving)


@pytest.mark.parametrize("code", [0, 3])
def test_leaving_without_a_word(bench: Bench, code: int) -> None:
    outcome = bench.toy(classifier(fit=f"os._exit({code})"))
    assert_told(bench, outcome, "user_error", f"ended itself before it was done (exit code {code})")


def test_a_crash_of_native_code(bench: Bench) -> None:
    outcome = bench.toy(classifier(fit="import ctypes; ctypes.string_at(0)"))
    assert_told(bench, outcome, "killed", "SIGSEGV")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGABRT", "SIGFPE"])
def test_a_signal_that_it_brought_on_itself(bench: Bench, name: str) -> None:
    outcome = bench.toy(classifier(fit=f"os.kill(os.getpid(), signal.{name}); time.sleep(60)"))
    assert_told(bench, outcome, "killed", name)


def test_a_kill_that_nothing_explains_is_charged_to_nobody(bench: Bench) -> None:
    outcome = bench.toy(classifier(fit="os.kill(os.getpid(), signal.SIGKILL); time.sleep(60)"))
    assert_told(bench, outcome, "environment", "SIGKILL")


def test_an_error_of_a_submission_that_replaced_its_output(bench: Bench) -> None:
    outcome = bench.toy(classifier(fit="sys.stdout = sys.stderr = None; raise ValueError('no luck')"))
    assert_traceback(bench, outcome, "ValueError: no luck")


def test_a_submission_that_replaced_its_output_succeeds(bench: Bench) -> None:
    succeeded(bench.toy(classifier(fit="sys.stdout = sys.stderr = None")))


# --- predictions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("np.zeros((len(X) + 1, 2))", "Wrong length: 9 predictions of the train part, which has 8 rows"),
        ("[]", "Wrong length: 0"),
        ("np.full((len(X), 2), np.nan)", "not finite in 8 of 8 rows"),
        ("np.full(len(X), np.inf)", "not finite in 8 of 8 rows"),
        ("np.array([object()] * len(X))", "not numeric: dtype object"),
        ("np.zeros(len(X), dtype=complex)", "not numeric: dtype complex128"),
        ("['a'] * len(X)", "not numeric: dtype <U1"),
        ("[[1.0], [1.0, 2.0]] * (len(X) // 2)", "no array"),
        ("np.zeros((len(X), 2, 2))", "shape (8, 2, 2)"),
        ("np.zeros((len(X), 0))", "shape (8, 0)"),
        ("np.float64(1)", "shape ()"),
        ("None", "not numeric"),
    ],
)
def test_predictions_that_can_not_be_used(bench: Bench, values: str, words: str) -> None:
    assert_told(bench, bench.toy(classifier(predict=f"return {values}")), "bad_output", words)


def test_bad_predictions_of_the_test_part_alone(bench: Bench) -> None:
    outcome = bench.toy(classifier(predict="return np.zeros(8)"))
    assert_told(bench, outcome, "bad_output", "8 predictions of the test part, which has 4 rows")


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


def test_a_flood_of_output_is_bounded_and_costs_no_result(bench: Bench) -> None:
    fit = "for _ in range(100): sys.stdout.write('x' * 10**6)\nprint('last words')"
    outcome = succeeded(bench.toy(classifier(fit=fit)))
    assert len(outcome.log) < 66 * 1024
    assert "bytes left out" in outcome.log
    assert outcome.log.endswith("last words\n")


def test_what_is_no_text_is_made_printable(bench: Bench) -> None:
    fit = r"os.write(1, b'a\0b\xff\xfe\x1b[2J\x07 end\n')"
    outcome = succeeded(bench.toy(classifier(fit=fit)))
    assert outcome.log.endswith(" end\n")
    assert not set(outcome.log) & set("\0\x1b\a")
    json.dumps(outcome.log).encode()


def test_an_error_message_is_made_printable(bench: Bench) -> None:
    outcome = bench.toy(classifier(fit=r"raise ValueError('a\0b\x1b[2J \ud800 end')"))
    assert outcome.failure == "user_error"
    assert outcome.message.endswith(" end")
    assert not set(outcome.message) & set("\0\x1b")
    outcome.message.encode()


def test_the_log_of_a_failed_fold_is_kept(bench: Bench) -> None:
    outcome = bench.toy(classifier(fit="print('epoch 1'); os._exit(1)"))
    assert outcome.log == "epoch 1\n"


def test_even_predictions_are_even(bench: Bench) -> None:
    assert succeeded(bench.toy(classifier(predict=EVEN))).log == ""
