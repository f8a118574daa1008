"""What the master itself can tell about a csv: its header parses and has the target column, and rows follow.

The rest only pandas can tell, when the data set is prepared.
"""

import pytest

from tests.integration.helpers import (
    Api,
    accepted,
    data_body,
    fold_body,
    organiser,
    pack,
    pack_indices,
    refused,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def api() -> Api:
    return organiser()


def with_csv(content: bytes, target_column: str = "y") -> dict[str, object]:
    return data_body(files={"data.csv": pack(content)}, target_column=target_column)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "first line"),
        (b"\n", "first line"),
        (b"\n\na,y\n1,2\n", "first line"),
        (b" , ,\n1,2,3\n", "first line"),
        (b"\xef\xbb\xbf", "first line"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary"),
        (b"PK\x03\x04\x14\0\x06\0", "binary"),
        ("a,y\n1,2\n".encode("utf-16"), "binary"),
        (b"a,y", "no rows"),
        (b"a,y\n", "no rows"),
        (b"a,y\r\n", "no rows"),
        (b"a,y\r", "no rows"),
        (b'"a,y\n1,2\n', "header doesn't parse"),
        (b'"a"b,y\n1,2\n', "header doesn't parse"),
        (b"a" * 200_000 + b",y\n1,2\n", "header doesn't parse"),
    ],
)
def test_what_is_no_csv_with_rows_is_refused(api: Api, content: bytes, word: str) -> None:
    refused(api, "rawdata/", with_csv(content), "files", "data.csv", word)


@pytest.mark.parametrize(
    ("content", "target_column"),
    [
        (b"a,b\n1,2\n", "y"),
        (b"a,Y\n1,2\n", "y"),
        (b"a, y\n1,2\n", "y"),
        (b"a;y\n1;2\n", "y"),
        (b"a,b\ny,2\n", "y"),
        (b"a,y\n1,2\n", ""),
        (b",a,y\n0,1,2\n", ""),  # an index without a name is no target
        (b"a,y\n1,2\n", " "),
        (b"a,y\n1,2\n", "a,y"),
        ("a,é\n1,2\n".encode("latin-1"), "é"),
    ],
)
def test_a_missing_target_column_is_named_with_those_there_are(
    api: Api, content: bytes, target_column: str
) -> None:
    refused(api, "rawdata/", with_csv(content, target_column), "target_column", repr(target_column), "has")


def test_the_target_column_is_required_of_a_csv(api: Api) -> None:
    body = with_csv(b"a,y\n1,2\n")
    del body["target_column"]
    refused(api, "rawdata/", body, "target_column", "a, y")


@pytest.mark.parametrize("target_column", [None, 3, ["y"], {"y": "y"}, "y\0", "x" * 201, "\udfff"])
def test_the_target_column_is_text(api: Api, target_column: object) -> None:
    body = with_csv(b"a,y\n1,2\n") | {"target_column": target_column}
    refused(api, "rawdata/", body, "target_column")


@pytest.mark.parametrize("width", [0, 10_000])
def test_a_long_header_is_not_told_in_full(api: Api, width: int) -> None:
    content = b",".join(b"column%d" % n + b"x" * width for n in range(100)) + b"\n1\n"
    said = refused(api, "rawdata/", with_csv(content), "target_column", "column0", "…")
    assert len(said["target_column"][0]) < 2000


@pytest.mark.parametrize(
    ("content", "target_column"),
    [
        (b"\xef\xbb\xbfy,b\n1,2\n", "y"),
        (b'\xef\xbb\xbf"y",b\r\n1,2\r\n', "y"),
        (b'a,"y"\n1,2\n', "y"),
        (b'a,"the, ""target"""\n1,2\n', 'the, "target"'),
        (b'a,"two\nlines"\n1,2\n', "two\nlines"),
        (b"a,y\r\n1,2\r\n", "y"),
        (b"a,y\r1,2\r", "y"),
        (b"a,y\n1,2", "y"),
        (b"a, y \n1,2\n", " y "),
        ("prénom,y\nZoé,2\n".encode("latin-1"), "y"),
        ("prénom,été\nZoé,2\n".encode(), "été"),
        (b"y\n1\n", "y"),
        (b"a,y\n\0,2\n".replace(b"\0", b"\x1f"), "y"),
    ],
)
def test_csvs_as_people_have_them_are_accepted(api: Api, content: bytes, target_column: str) -> None:
    accepted(api.send("rawdata/", with_csv(content, target_column)))


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("last", [True, False], ids=["end at the end", "no end at the end"])
def test_indices_beyond_the_lines_are_refused_before_pandas_counts_rows(
    api: Api, end: bytes, last: bool
) -> None:
    content = b"a,y" + end + end.join([b"1,2"] * 4) + (end if last else b"")
    raw_data = accepted(api.send("rawdata/", with_csv(content)))["id"]
    for row, fits in ((4, False), (3, True)):
        body = fold_body(raw_data, train_is=pack_indices(0), test_is=pack_indices(row))
        assert (api.send("submissionfold/", body).status_code == 201) == fits


def test_two_columns_of_the_targets_name_are_refused(api: Api) -> None:
    # pandas would rename the second, and train on what is to be predicted
    refused(api, "rawdata/", with_csv(b"y,y\n1,2\n", "y"), "target_column", "2 columns named 'y'")
