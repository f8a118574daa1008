"""What of a folder is sent, and what it is taken for."""

import zipfile
from pathlib import Path

import pytest

from datarun.client import files
from datarun.client.errors import InputError


def write(folder: Path, **contents: str) -> Path:
    for name, text in contents.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_submission_is_all_files_but_hidden_and_generated_ones(tmp_path: Path) -> None:
    write(
        tmp_path, classifier_dot_py="a", helpers__tools_dot_py="b", _dot_git__config="c", lib__x_dot_pyc="d"
    )
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "classifier.py").write_text("e")
    assert files.as_files(tmp_path) == {"classifier.py": b"a", "helpers/tools.py": b"b"}


def test_a_submission_may_be_files_or_texts(tmp_path: Path) -> None:
    write(tmp_path, classifier_dot_py="a", calibrator_dot_py="b")
    one, two = tmp_path / "classifier.py", tmp_path / "calibrator.py"
    assert files.as_files(one) == {"classifier.py": b"a"}
    assert files.as_files([one, str(two)]) == {"classifier.py": b"a", "calibrator.py": b"b"}
    assert files.as_files({"classifier.py": "ä", "weights": b"\0"}) == {
        "classifier.py": b"\xc3\xa4",
        "weights": b"\0",
    }


def test_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    write(tmp_path, secret="s", sub__classifier_dot_py="a")
    (tmp_path / "sub" / "same.py").symlink_to("classifier.py")
    assert files.as_files(tmp_path / "sub") == {"classifier.py": b"a", "same.py": b"a"}
    (tmp_path / "sub" / "out.py").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="leads out"):
        files.as_files(tmp_path / "sub")


@pytest.mark.parametrize("source", ["missing", ""])
def test_nothing_to_submit_is_told(tmp_path: Path, source: str) -> None:
    with pytest.raises(InputError, match="no f"):
        files.as_files(tmp_path / source)


def test_a_csv_is_itself(tmp_path: Path) -> None:
    csv = write(tmp_path, iris_dot_csv="a,b\n") / "iris.csv"
    found = files.data_set(csv)
    assert (found.kind, found.name) == ("csv", "iris")
    with found.packed() as path:
        assert path == csv


def test_a_folder_says_what_it_is(tmp_path: Path) -> None:
    write(
        tmp_path,
        data_dot_csv="a,b\n",
        README="r",
        datarun_dot_toml="""
            name = "iris"
            files = ["data.csv"]
            target_column = "b"
            metrics = ["accuracy"]
            [cv]
            splitter = "KFold"
            parameters = { n_splits = 3 }
        """,
    )
    found = files.data_set(tmp_path)
    assert (found.kind, found.name, list(found.files)) == ("csv", "iris", ["data.csv"])
    cv = {"splitter": "KFold", "parameters": {"n_splits": 3}}
    assert found.fields == {"target_column": "b", "metrics": ["accuracy"], "cv": cv}


def test_a_folder_with_a_module_is_sent_whole(tmp_path: Path) -> None:
    write(tmp_path, data_dot_csv="a", reader_dot_py="b", datarun_dot_toml="name = 'digits'")
    found = files.data_set(tmp_path)
    assert found.kind == "custom"
    with found.packed() as path, zipfile.ZipFile(path) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "data.csv": b"a",
            "reader.py": b"b",
        }


def test_a_kit_is_known_by_its_problem(tmp_path: Path) -> None:
    write(tmp_path, problem_dot_py="p", data__train_dot_csv="t", submissions__start__classifier_dot_py="c")
    found = files.data_set(tmp_path)
    assert (found.kind, found.name) == ("kit", tmp_path.name)
    assert set(found.files) == {"problem.py", "data/train.csv", "submissions/start/classifier.py"}


def test_the_zip_of_the_same_files_is_the_same(tmp_path: Path) -> None:
    """So that an upload goes on where it ended, on another day."""
    write(tmp_path, one="1", two="2")
    with files.zipped({"a": tmp_path / "one", "b": tmp_path / "two"}) as path:
        first = path.read_bytes()
    (tmp_path / "one").touch()
    with files.zipped({"b": tmp_path / "two", "a": b"1"}) as path:
        assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ("name = ", "no TOML"),
        ("metric = ['accuracy']", "'metric' is unknown: did you mean metrics?"),
        ("files = 'data.csv'", "list of file names"),
        ("files = ['more.csv']", "no file more.csv"),
        ("files = ['../../etc/passwd']", "not in the folder"),
        ("", "custom module"),
    ],
)
def test_a_definition_that_can_not_be_used_is_told(tmp_path: Path, definition: str, words: str) -> None:
    write(tmp_path, data_dot_csv="a", more_dot_txt="b", datarun_dot_toml=definition)
    with pytest.raises(InputError, match=r"datarun\.toml") as raised:
        files.data_set(tmp_path)
    assert words in str(raised.value)


def test_a_folder_without_a_definition_is_told(tmp_path: Path) -> None:
    write(tmp_path, data_dot_csv="a")
    with pytest.raises(InputError, match=r"neither datarun\.toml nor problem\.py"):
        files.data_set(tmp_path)
