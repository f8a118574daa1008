"""Tracebacks as submitters want them: from their own file on, without our frames and folders."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datarun.runner.sandbox.task import PACKAGE, JobFolder
from datarun.runner.sandbox.tracebacks import describe
from datarun.runner.workflows.custom import import_custom
from datarun.runner.workflows.tabular import make


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    folder = JobFolder(tmp_path)
    for path in (folder.submission, folder.data, folder.home):
        path.mkdir()
    (folder.submission / "__init__.py").touch()
    return folder


@pytest.fixture
def described(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """What a submitter reads after `make` has imported and called this text as classifier.py."""
    monkeypatch.syspath_prepend(str(folder.root))

    def describe_classifier(text: str) -> str:
        (folder.submission / "classifier.py").write_text(text)
        with pytest.raises(BaseException) as caught:
            make("classifier", PACKAGE)
        return describe(caught.value, (folder.submission, folder.data, folder.root))

    yield describe_classifier
    for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
        del sys.modules[name]


def assert_clean(text: str, folder: JobFolder) -> None:
    assert str(folder.root) not in text
    assert "importlib" not in text
    assert f"{Path('datarun') / 'runner'}" not in text


RAISES_IN_INIT = """
class Classifier:
    def __init__(self):
        helper()

def helper():
    {raising}
"""


def in_init(raising: str) -> str:
    return RAISES_IN_INIT.format(raising=raising)


def test_it_starts_in_the_submissions_own_file(described: Callable[[str], str], folder: JobFolder) -> None:
    text = described(in_init("raise ValueError('no')"))
    assert text.splitlines()[:3] == [
        "Traceback (most recent call last):",
        '  File "classifier.py", line 4, in __init__',
        "    helper()",
    ]
    assert text.splitlines()[-1] == "ValueError: no"
    assert_clean(text, folder)


def test_an_error_while_importing_starts_there_too(
    described: Callable[[str], str], folder: JobFolder
) -> None:
    text = described("import math\nmath.sqrt(-1)\n")
    assert text.splitlines()[1] == '  File "classifier.py", line 2, in <module>'
    assert text.splitlines()[-1].startswith("ValueError")
    assert_clean(text, folder)


def test_frames_of_libraries_below_the_submission_stay(described: Callable[[str], str]) -> None:
    text = described("import json\njson.loads('{')\n")
    assert "json/decoder.py" in text
    assert text.index('"classifier.py"') < text.index("json/decoder.py")


def test_a_syntax_error_names_file_line_and_text(described: Callable[[str], str], folder: JobFolder) -> None:
    text = described("class Classifier:\n    def fit(self, X, y)\n        pass\n")
    assert 'File "classifier.py", line 2' in text
    assert "def fit(self, X, y)" in text
    assert "SyntaxError: expected ':'" in text
    assert_clean(text, folder)


def test_a_missing_class_is_said_in_one_sentence(described: Callable[[str], str]) -> None:
    assert described("class Clasifier: pass") == "classifier.py defines no class Classifier."


def test_a_missing_module_is_named(described: Callable[[str], str], folder: JobFolder) -> None:
    text = described("import unobtainable\n")
    assert text.splitlines()[1].startswith('  File "classifier.py", line 1')
    assert "ModuleNotFoundError: No module named 'unobtainable'" in text
    assert_clean(text, folder)


@pytest.mark.parametrize("how", ["from error", ""])
def test_causes_are_told_each_from_the_submission_on(
    described: Callable[[str], str], folder: JobFolder, how: str
) -> None:
    text = described(
        "class Classifier:\n"
        "    def __init__(self):\n"
        "        try:\n"
        "            {}['a']\n"
        "        except KeyError as error:\n"
        f"            raise ValueError('outer') {how}\n"
    )
    assert text.index("KeyError: 'a'") < text.index("ValueError: outer")
    assert text.count('File "classifier.py"') == 2
    assert_clean(text, folder)


def test_a_group_of_errors_is_told(described: Callable[[str], str], folder: JobFolder) -> None:
    text = described(in_init("raise ExceptionGroup('several', [ValueError('one'), TypeError('two')])"))
    assert "ValueError: one" in text
    assert "TypeError: two" in text
    assert_clean(text, folder)


def test_an_endless_recursion_is_shortened(described: Callable[[str], str], folder: JobFolder) -> None:
    text = described(in_init("helper()"))
    assert text.splitlines()[1] == '  File "classifier.py", line 4, in __init__'
    assert "RecursionError" in text
    assert "more times]" in text
    assert len(text) < 2000
    assert_clean(text, folder)


@pytest.mark.parametrize("method", ["__str__", "__repr__"])
def test_an_error_that_can_not_say_itself_is_told_nevertheless(
    described: Callable[[str], str], method: str
) -> None:
    text = described(
        f"class Bad(Exception):\n    def {method}(self):\n        raise RuntimeError\nraise Bad()\n"
    )
    assert text.splitlines()[1] == '  File "classifier.py", line 4, in <module>'
    assert "Bad" in text.splitlines()[-1]


def test_a_message_of_any_length_is_bounded(described: Callable[[str], str]) -> None:
    text = described(in_init("raise ValueError('x' * 10**7 + 'end')"))
    assert len(text) <= 64 * 1024
    assert text.endswith("end")


@pytest.mark.parametrize("error", ["SystemExit: 3", "KeyboardInterrupt"])
def test_what_leaves_the_interpreter_is_told_like_an_error(
    described: Callable[[str], str], error: str
) -> None:
    text = described(in_init(f"raise {error.replace(': 3', '(3)')}"))
    assert text.splitlines()[1] == '  File "classifier.py", line 4, in __init__'
    assert text.splitlines()[-1] == error


MODULE = """
def prepare_data(path): raise OSError("no such table")
def get_train_data(path): pass
def get_test_data(path): pass
def train_submission(module_path, X, y, train_indices):
    from importlib import import_module
    import_module(".classifier", module_path).Classifier()
def test_submission(model, X, test_indices): pass
"""


def test_an_organisers_error_starts_in_the_custom_module(folder: JobFolder) -> None:
    (folder.data / "problem.py").write_text(MODULE)
    custom = import_custom(folder.data / "problem.py")
    with pytest.raises(OSError, match="no such table") as caught:
        custom.prepare_data("")
    text = describe(caught.value, (folder.submission, folder.data, folder.root))
    assert text.splitlines()[1] == '  File "problem.py", line 2, in prepare_data'
    assert_clean(text, folder)


def test_below_a_custom_module_it_starts_in_the_submission(
    described: Callable[[str], str], folder: JobFolder
) -> None:
    (folder.data / "problem.py").write_text(MODULE)
    custom = import_custom(folder.data / "problem.py")
    (folder.submission / "classifier.py").write_text(in_init("raise ValueError('no')"))
    with pytest.raises(ValueError, match="no") as caught:
        custom.train_submission(PACKAGE, [], [], [])
    text = describe(caught.value, (folder.submission, folder.data, folder.root))
    assert text.splitlines()[1] == '  File "classifier.py", line 4, in __init__'
    assert_clean(text, folder)
