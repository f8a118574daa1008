"""The rows of a fold: train and test indices come whole, in range, and apart from each other."""

import base64
import zlib
from pathlib import Path

import numpy as np
import pytest
from pytest_django import Settings

from runapp.models import SubmissionFold
from runapp.services import blobs
from tests.integration.helpers import (
    Api,
    accepted,
    fold_body,
    further_fold_body,
    organiser,
    own_storage,
    pack,
    pack_indices,
    post_custom_data,
    post_data,
    post_fold,
    prepared,
    ready_data,
    refused,
    split,
    stored_files,
    unpack,
)

pytestmark = pytest.mark.django_db

ROUTE = "submissionfold/"
ROWS = np.arange(3, dtype="<i8").tobytes()
SENT = zlib.compress(ROWS)


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.fixture
def api() -> Api:
    return organiser()


@pytest.fixture
def raw_data(api: Api) -> int:
    """Eight training rows."""
    return ready_data(api)


@pytest.mark.parametrize("field", ["train_is", "test_is"])
@pytest.mark.parametrize(
    ("indices", "word"),
    [
        ("not base64!", "base64"),
        (text(SENT)[:-1], "base64"),
        (text(SENT) + "\n", "base64"),
        ("é" * 4, "base64"),
        ("\ud800", "base64"),
        (base64.urlsafe_b64encode(b"\xfb\xff\xfe").decode(), "base64"),
        (text(ROWS), "zlib"),
        (text(zlib.compress(ROWS, wbits=31)), "zlib"),  # gzip
        (text(zlib.compress(ROWS, wbits=-15)), "zlib"),  # deflate without a header
        (text(b"\xff" + SENT[1:]), "zlib"),
        (text(SENT[:-4] + b"\0\0\0\0"), "zlib"),  # another checksum
        ("", "cut short"),
        (text(SENT[:-1]), "cut short"),
        (text(SENT[:5]), "cut short"),
        (text(SENT + b"\0"), "behind the end"),
        (text(SENT + SENT), "behind the end"),
        (pack(ROWS[:-1]), "int64"),
        (pack(b"\0"), "int64"),
        (pack(np.arange(3, dtype="<i4").tobytes()), "int64"),
        (pack(b""), "empty"),
        (pack_indices(-1), "negative"),
        (pack_indices(0, -(2**63)), "negative"),
        ([0, 1, 2], "text"),
        (3, "text"),
        (True, "text"),
        ({}, "text"),
        ([], "text"),
        (None, "null"),
    ],
)
def test_what_is_no_packed_index_array_is_refused(
    api: Api, raw_data: int, field: str, indices: object, word: str
) -> None:
    refused(api, ROUTE, fold_body(raw_data, **{field: indices}), field, word)


@pytest.mark.parametrize("indices", [(6, 6), (5, 6, 7, 5)])
def test_a_test_row_counts_once(api: Api, raw_data: int, indices: tuple[int, ...]) -> None:
    refused(api, ROUTE, fold_body(raw_data, test_is=pack_indices(*indices)), "test_is", "repeated")


@pytest.mark.parametrize("train", [(0, 1, 2), (2, 2, 2)])
def test_train_and_test_rows_do_not_overlap(api: Api, raw_data: int, train: tuple[int, ...]) -> None:
    body = fold_body(raw_data, train_is=pack_indices(*train), test_is=pack_indices(7, 2))
    refused(api, ROUTE, body, "test_is", "train_is", "overlap", "2")


def test_a_training_row_may_repeat(api: Api, raw_data: int) -> None:
    body = fold_body(raw_data, train_is=pack_indices(0, 0, 5, 0, 5))
    answer = accepted(api.send(ROUTE, body))
    assert np.frombuffer(unpack(answer["train_is"]), dtype="<i8").tolist() == [0, 0, 5, 0, 5]


def test_indices_keep_their_order_byte_for_byte(api: Api, raw_data: int) -> None:
    train, test = pack_indices(7, 0, 3, 3), pack_indices(6, 1)
    answer = accepted(api.send(ROUTE, fold_body(raw_data, train_is=train, test_is=test)))
    assert unpack(answer["train_is"]) == unpack(train)
    assert unpack(answer["test_is"]) == unpack(test)
    fold = SubmissionFold.objects.get()
    assert blobs.get(fold.train_is_id) == unpack(train)  # what the runner is given


@pytest.mark.parametrize("level", range(10))
def test_any_level_of_compression_will_do(api: Api, raw_data: int, level: int) -> None:
    post_fold(api, raw_data, train_is=text(zlib.compress(ROWS, level)))


# --- out of range --------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["train_is", "test_is"])
@pytest.mark.parametrize("row", [8, 9, 10**6, 2**63 - 1])
def test_an_index_beyond_the_train_part_is_refused(api: Api, raw_data: int, field: str, row: int) -> None:
    answer = api.send(ROUTE, fold_body(raw_data, **{field: pack_indices(row)}))
    assert answer.status_code == 400
    ((fields, sentences),) = answer.json().items()
    assert field in fields
    assert str(row) in sentences[0]
    assert "8 rows" in sentences[0]
    assert not SubmissionFold.objects.exists()


def test_the_last_row_of_the_train_part_is_in_range(api: Api, raw_data: int) -> None:
    post_fold(api, raw_data, test_is=pack_indices(7))


def test_before_any_split_the_lines_of_the_csv_are_the_bound(api: Api) -> None:
    raw_data = post_data(api)
    assert api.send(ROUTE, fold_body(raw_data, test_is=pack_indices(10))).status_code == 400
    post_fold(api, raw_data, test_is=pack_indices(9))


@pytest.mark.parametrize(("share", "rows"), [(0.2, 8), (0.25, 7), (0.05, 9), (0.5, 5), (0.99, 0)])
def test_before_preparation_the_share_held_out_lowers_the_bound(api: Api, share: float, rows: int) -> None:
    raw_data = post_data(api)
    split(api, raw_data, share)
    body = fold_body(raw_data, train_is=pack_indices(10**6), test_is=pack_indices(rows))
    assert api.send(ROUTE, body).status_code == 400
    body = fold_body(raw_data, train_is=pack_indices(0), test_is=pack_indices(rows))
    assert api.send(ROUTE, body).status_code == 400
    if rows > 1:
        post_fold(api, raw_data, train_is=pack_indices(0), test_is=pack_indices(rows - 1))


def test_custom_data_has_no_bound_before_preparation_and_one_after(api: Api) -> None:
    raw_data = post_custom_data(api)
    post_fold(api, raw_data, 1, test_is=pack_indices(2**63 - 1))
    task_id = api.send("rawdata/customsplit/", {"raw_data_id": raw_data}).json()["task_id"]
    prepared(task_id, n_train=20)
    assert api.ask("submissionfold/1/").json()["state"] == "ERROR"
    assert api.send(ROUTE, further_fold_body(2, test_is=pack_indices(20))).status_code == 400
    accepted(api.send(ROUTE, further_fold_body(2, test_is=pack_indices(19))))


# --- many of them --------------------------------------------------------------------------------------


def test_the_same_indices_are_stored_once(
    api: Api, raw_data: int, settings: Settings, tmp_path: Path
) -> None:
    own_storage(settings, tmp_path)
    many = pack_indices(*(0, 1, 2) * 5000)
    post_fold(api, raw_data, 1, train_is=many)
    accepted(api.send(ROUTE, further_fold_body(2, train_is=many)))
    first, second = SubmissionFold.objects.order_by("pk")
    assert first.train_is_id == second.train_is_id
    assert first.test_is_id == second.test_is_id
    assert stored_files(tmp_path) == {first.train_is_id}
    assert unpack(api.ask("submissionfold/2/").json()["train_is"]) == unpack(many)


def test_a_million_indices_are_no_trouble(api: Api, settings: Settings, tmp_path: Path) -> None:
    own_storage(settings, tmp_path)
    raw_data = post_custom_data(api)
    rows = np.arange(1_000_000, dtype="<i8")
    answer = accepted(
        api.send(ROUTE, fold_body(raw_data, train_is=pack(rows.tobytes()), test_is=pack_indices(10**6)))
    )
    assert unpack(answer["train_is"]) == rows.tobytes()
