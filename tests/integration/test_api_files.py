"""Posted files: names that are safe anywhere, contents of a bounded size, Python that parses.

Data sets and submissions bring files by the same rules.
"""

import base64
import json
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from functools import cache

import pytest
from pytest_django import Settings

from tests.integration.helpers import (
    CODE,
    CSV,
    Api,
    accepted,
    custom_body,
    data_body,
    fold_body,
    organiser,
    pack,
    post_fold,
    ready_data,
    refused,
)

pytestmark = pytest.mark.django_db

MEGABYTE = 2**20


@pytest.fixture
def api() -> Api:
    return organiser()


@pytest.fixture
def raw_data(api: Api) -> int:
    return ready_data(api, name="ready")


def refused_everywhere(api: Api, raw_data: int, files: object, *words: str) -> None:
    """Neither a data set nor a submission may have these files."""
    refused(api, "rawdata/", data_body(files=files), "files", *words)
    refused(api, "submissionfold/", fold_body(raw_data, files=files), "files", *words)


# --- shape ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [{}, [], "flowers.csv", 3, True, False, ["flowers.csv"], [["a", "b"]]])
def test_files_are_an_object_of_at_least_one(api: Api, raw_data: int, files: object) -> None:
    refused_everywhere(api, raw_data, files, "at least one file")


def test_files_are_not_null(api: Api, raw_data: int) -> None:
    refused(api, "rawdata/", data_body(files=None), "files", "null")
    refused(api, "submissionfold/", fold_body(raw_data, files=None), "files", "Submission 1 is new")


@pytest.mark.parametrize("content", [None, 1, 1.5, True, [], ["eJw="], {}, {"classifier.py": "eJw="}])
def test_contents_are_text(api: Api, raw_data: int, content: object) -> None:
    refused_everywhere(api, raw_data, {"classifier.py": content}, "classifier.py", "Not text")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("???", "base64"),
        (CSV.decode(), "base64"),
        ("data:text/csv;base64,eJw=", "base64"),
        (base64.b64encode(CSV).decode(), "zlib"),
        (base64.b64encode(zlib.compress(CSV)[:-2]).decode(), "cut short"),
        ("", "cut short"),
        (base64.b64encode(zlib.compress(CSV) + b"more").decode(), "behind the end"),
    ],
)
def test_contents_are_base64_of_zlib(api: Api, raw_data: int, content: str, word: str) -> None:
    refused_everywhere(api, raw_data, {"classifier.py": content}, "classifier.py", word)


def test_the_bad_one_of_several_files_is_named(api: Api, raw_data: int) -> None:
    files = {"a.txt": pack(b"a"), "broken.txt": "!", "classifier.py": pack(CODE)}
    refused_everywhere(api, raw_data, files, "broken.txt")


# --- names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "/x",
        "/etc/passwd",
        "../x",
        "../../x.py",
        "x/../y",
        "x/y",
        "x/",
        "./x",
        "..\\x",
        "C:\\x",
        "\\\\host\\share",
        "\0",
        "a\0b.py",
        "classifier.py\0.txt",
        "a\nb",
        "a\rb",
        "a\tb",
        "\x1b[31mred",
        "\x7f",
        "\x85",
        "\u2028",
        "\u202etxt.py",  # turns the rest around
        "\u200b",
        "\ufeffclassifier.py",
        "\ud800",
        "a\udfff.py",
        "x" * 255,
        "x" * 100_000,
        "é" * 128,
        "🌸" * 64,
    ],
)
def test_unsafe_names_are_refused(api: Api, raw_data: int, name: str) -> None:
    for files in ({name: pack(CSV)}, {"classifier.py": pack(CODE), name: pack(CSV)}):
        refused_everywhere(api, raw_data, files)


@pytest.mark.parametrize(
    "name",
    ["..x", "x..", "...", "a b.csv", "données.csv", "x" * 254, "é" * 127, ".hidden", "-rf", "$(x)", "a'b"],
)
def test_unusual_names_that_are_safe_are_kept(api: Api, raw_data: int, name: str) -> None:
    assert accepted(api.send("rawdata/", data_body(files={name: pack(CSV)})))["files"] == [name]
    post_fold(api, raw_data, files={"classifier.py": pack(CODE), name: pack(CSV)})


def test_a_file_is_not_sent_twice(api: Api, raw_data: int) -> None:
    twice = f'{{"classifier.py": "{pack(CODE)}", "classifier.py": "{pack(b"x = 1")}"}}'
    for route, body in (("rawdata/", data_body()), ("submissionfold/", fold_body(raw_data))):
        text = json.dumps(body | {"files": "HERE"}).replace('"HERE"', twice)
        refused(api, route, text, "classifier.py", "twice")


# --- size ----------------------------------------------------------------------------------------------


@cache
def bomb() -> str:
    """256 MB of nothing in a few hundred kB."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(MEGABYTE)) for _ in range(256)) + packer.flush()
    return base64.b64encode(packed).decode()


@pytest.fixture
def _bounded(settings: Settings) -> Iterator[None]:
    """At most 1 MB of files at once; the test may use a few times as much memory, and a few seconds."""
    settings.MAX_FILE = MEGABYTE
    bomb()
    begin = time.monotonic()
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * MEGABYTE
    assert time.monotonic() - begin < 20


@pytest.mark.usefixtures("_bounded")
def test_a_bomb_among_the_files_goes_off_in_a_bounded_space(api: Api, raw_data: int) -> None:
    refused_everywhere(api, raw_data, {"classifier.py": bomb()}, "classifier.py", "Larger than")
    refused_everywhere(api, raw_data, {"a.txt": pack(b"a"), "b.py": bomb()}, "b.py", "Larger than")


@pytest.mark.usefixtures("_bounded")
@pytest.mark.parametrize("field", ["train_is", "test_is"])
def test_a_bomb_among_the_indices_goes_off_in_a_bounded_space(api: Api, raw_data: int, field: str) -> None:
    refused(api, "submissionfold/", fold_body(raw_data, **{field: bomb()}), field, "Larger than")


@pytest.mark.usefixtures("_bounded")
def test_many_files_have_the_same_space_together(api: Api, raw_data: int) -> None:
    files = {f"{n}.bin": pack(bytes(MEGABYTE // 4)) for n in range(40)}
    refused_everywhere(api, raw_data, files, "Larger than")


def test_a_file_may_be_exactly_as_large_as_allowed(api: Api, settings: Settings) -> None:
    settings.MAX_FILE = len(CSV)
    accepted(api.send("rawdata/", data_body()))
    refused(api, "rawdata/", data_body(name="more", files={"more.csv": pack(CSV + b"1")}), "files", "Larger")


# --- Python --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"import os\nclass Classifier\n    pass\n", ["line 2", "class Classifier"]),
        (b"x = 1\n\n\n\ny = (\n", ["line 5", "y = ("]),
        (b"def f():\nreturn 1\n", ["line 2", "return 1"]),
        (b"if x:\n\ty = 1\n        z = 2\n", ["line 3"]),
        (b"print 'python 2'\n", ["line 1", "print 'python 2'"]),
        (b"x = 1\r\ny = = 2\r\n", ["line 2", "y = = 2"]),
        ("x = '☃\n".encode(), ["line 1", "☃"]),
        (b"x = 'caf\xe9'\n", ["utf-8"]),
        (b"# coding: klingon\n", ["klingon"]),
        (b"# coding: unicode_escape\nx = '\\ud800' (\n", []),
        (b"# coding: utf-7\n+2AA- (\n", []),
        (b"\x80\x04\x95", []),
        (b"x = 1\0\n", ["null bytes"]),
        ("x = 1\n".encode("utf-16"), []),
        (b"(" * 1000, ["parentheses"]),
        (b"-" * 100_000 + b"1", ["nested"]),
        (b"x" + b".y" * 50_000, ["nested"]),
        (b"x = 0" * 200_000, []),
        (b"x = " + b"9" * 5000, []),
        (b"#" * (MEGABYTE + 1), ["too long"]),
    ],
)
def test_python_that_does_not_parse_is_told_where(
    api: Api, raw_data: int, source: bytes, words: list[str]
) -> None:
    files = {"classifier.py": pack(source)}
    refused(api, "submissionfold/", fold_body(raw_data, files=files), "files", "classifier.py", *words)
    files = {"flowers.csv": pack(CSV), "classifier.py": pack(source)}
    refused(api, "rawdata/", custom_body(files=files), "files", "classifier.py", *words)


def test_a_place_that_is_not_known_is_not_made_up(api: Api, raw_data: int) -> None:
    for source in (b"# coding: klingon\n", b"x = 1\0\n"):
        body = fold_body(raw_data, files={"classifier.py": pack(source)})
        said = refused(api, "submissionfold/", body, "files")["files"][0]
        assert "line 0" not in said
        assert "None" not in said


def test_files_that_are_left_unused_must_parse_too(api: Api, raw_data: int) -> None:
    files = {"classifier.py": pack(CODE), "notes.py": pack(b"to be done\n")}
    refused(api, "submissionfold/", fold_body(raw_data, files=files), "files", "notes.py", "line 1")


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"\xef\xbb\xbfx = 1\n",
        b"# coding: latin-1\nx = '\xe9'\n",
        b"x = 1\r\ny = 2\r\n",
        b"x = 1",
        b"raise SystemExit\n",
        b"import does_not_exist\n",
        b"match x:\n    case _:\n        pass\n",
        b"x = '\\d'\n",
    ],
)
def test_python_that_parses_is_accepted_and_not_run(api: Api, raw_data: int, source: bytes) -> None:
    post_fold(api, raw_data, files={"classifier.py": pack(source)})


def test_other_files_may_be_anything(api: Api, raw_data: int) -> None:
    post_fold(api, raw_data, files={"classifier.py": pack(CODE), "notes.pyc": pack(b"\0(")})
