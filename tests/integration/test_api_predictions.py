"""Handing out predictions: exact bytes, to whoever asks for ids, and each new one to one caller only."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from django.db import transaction
from numpy.typing import NDArray

from runapp import states
from runapp.models import Job, SubmissionFold
from tests.integration.helpers import (
    PATIENCE,
    TEST,
    TRAIN,
    Answer,
    Api,
    accepted,
    at_once,
    fail,
    fold_body,
    further_fold_body,
    in_thread,
    organiser,
    pack_indices,
    post_data,
    post_fold,
    reach,
    ready_data,
    refused,
    start,
    succeeded,
    unpack,
    unpack_floats,
)

pytestmark = pytest.mark.django_db

MEASURES = {
    "train_time": 1.5,
    "validation_time": 0.25,
    "test_time": 0.125,
    "train_cpu_time": 2.5,
    "test_cpu_time": 0.5,
    "train_memory": 300.75,
    "test_memory": 301.0,
}


@pytest.fixture
def api() -> Api:
    return organiser()


@pytest.fixture
def raw_data(api: Api) -> int:
    return ready_data(api)


def listed(api: Api, *ids: int) -> list[dict[str, Any]]:
    return rows(api.send("testpredictions/list/", {"list_submission_fold": ids}))


def new(api: Api, raw_data: int | None = None) -> list[dict[str, Any]]:
    return rows(api.send("testpredictions/new/", {} if raw_data is None else {"raw_data_id": raw_data}))


def rows(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.content.decode()
    return list(answer.json())


def ids_of(answers: list[dict[str, Any]]) -> list[int]:
    return [answer["databoard_sf_id"] for answer in answers]


def are_new() -> list[int]:
    return list(SubmissionFold.objects.filter(new=True).order_by("pk").values_list("pk", flat=True))


# --- what is handed out --------------------------------------------------------------------------------


def test_a_tested_fold_is_handed_out_in_full(api: Api, raw_data: int) -> None:
    succeeded(post_fold(api, raw_data, 7, 3), measures=MEASURES, log="fitted in 3 rounds")
    (answer,) = listed(api, 7)
    assert answer == MEASURES | {
        "databoard_sf_id": 7,
        "databoard_s": 3,
        "test_predictions": answer["test_predictions"],
        "full_train_predictions": answer["full_train_predictions"],
        "state": "TESTED",
        "log_messages": "fitted in 3 rounds",
    }
    assert unpack(answer["test_predictions"]) == TEST.tobytes()
    assert unpack(answer["full_train_predictions"]) == TRAIN.tobytes()


def test_new_list_and_detail_agree(api: Api, raw_data: int) -> None:
    succeeded(post_fold(api, raw_data), measures=MEASURES, log="said something")
    (from_new,) = new(api)
    (from_list,) = listed(api, 1)
    detail = accepted(api.ask("submissionfold/1/"), 200)
    assert from_new == from_list
    assert from_new.items() <= detail.items()
    assert detail["new"] is False


@pytest.mark.parametrize(
    "array",
    [
        np.array([1 / 3, -0.0, 5e-324, 1.7976931348623157e308, -1e-17]),
        np.array([[1 / 3, 2 / 3], [0.1, 0.9], [np.nextafter(1, 0), np.nextafter(0, 1)]]),
        np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
        np.arange(12, dtype=np.float64).reshape(4, 3)[::2, ::-1],
        np.arange(4, dtype=np.float64).astype(">f8"),
        np.array([7.0]),
        np.array([[7.0]]),
    ],
    ids=["1-D", "2-D", "Fortran order", "strided", "big-endian", "one value", "one row and column"],
)
def test_predictions_come_back_bit_by_bit_in_c_order(
    api: Api, raw_data: int, array: NDArray[np.float64]
) -> None:
    succeeded(post_fold(api, raw_data), train=array, test=array[:1])
    (answer,) = new(api)
    expected = np.ascontiguousarray(array, dtype="<f8")
    assert unpack(answer["full_train_predictions"]) == expected.tobytes()
    assert unpack(answer["test_predictions"]) == expected[:1].tobytes()
    assert (unpack_floats(answer["full_train_predictions"], *array.shape) == array).all()


def test_a_waiting_fold_has_nothing_to_show_yet(api: Api, raw_data: int) -> None:
    post_fold(api, raw_data)
    (answer,) = listed(api, 1)
    assert (answer["state"], answer["log_messages"]) == ("TODO", "")
    assert (answer["test_predictions"], answer["full_train_predictions"]) == (None, None)


def test_the_state_follows_the_runner(api: Api, raw_data: int) -> None:
    task_id = post_fold(api, raw_data)
    start(task_id)
    seen = [listed(api, 1)[0]["state"]]
    for stage in ("trained", "validated"):
        reach(task_id, stage)
        seen.append(listed(api, 1)[0]["state"])
    assert seen == ["TODO", "TRAINED", "VALIDATED"]


def test_a_failed_fold_says_why(api: Api, raw_data: int) -> None:
    traceback = (
        'Traceback (most recent call last):\n  File "classifier.py", line 3, in fit\nValueError: no <b>'
    )
    fail(post_fold(api, raw_data), "user_error", traceback, log="before it broke")
    (answer,) = listed(api, 1)
    assert answer["state"] == "ERROR"
    assert answer["log_messages"] == f"{traceback} - ERROR(train)\nbefore it broke"
    assert (answer["test_predictions"], answer["full_train_predictions"]) == (None, None)


def test_a_failed_fold_keeps_what_was_measured(api: Api, raw_data: int) -> None:
    fail(post_fold(api, raw_data), "timeout", "took too long", measures=MEASURES)
    assert MEASURES.items() <= listed(api, 1)[0].items()


# --- by ids --------------------------------------------------------------------------------------------


def test_ids_pick_the_folds(api: Api, raw_data: int) -> None:
    for fold in range(1, 6):
        succeeded(post_fold(api, raw_data, fold, fold))
    assert ids_of(listed(api, 4, 2)) == [2, 4]
    assert ids_of(listed(api, 3, 3, 3)) == [3]
    assert listed(api) == []


def test_what_was_listed_is_no_longer_new(api: Api, raw_data: int) -> None:
    for fold in (1, 2, 3):
        succeeded(post_fold(api, raw_data, fold, fold))
    listed(api, 1, 3)
    assert are_new() == [2]
    assert ids_of(listed(api, 1, 3)) == [1, 3]  # and may be listed again
    assert ids_of(new(api)) == [2]


def test_a_fold_that_was_listed_too_early_stays_new(api: Api, raw_data: int) -> None:
    waiting, running = post_fold(api, raw_data, 1, 1), post_fold(api, raw_data, 2, 2)
    start(running)
    listed(api, 1, 2)
    assert are_new() == [1, 2]
    succeeded(waiting)
    assert ids_of(new(api)) == [1]


def test_a_failed_fold_that_was_listed_is_not_new(api: Api, raw_data: int) -> None:
    fail(post_fold(api, raw_data), "user_error", "broken")
    listed(api, 1)
    assert are_new() == []


def test_unknown_ids_are_named_and_nothing_is_marked(api: Api, raw_data: int) -> None:
    succeeded(post_fold(api, raw_data))
    body = {"list_submission_fold": [1, 99, 2**63 - 1]}
    refused(api, "testpredictions/list/", body, "list_submission_fold", "99", str(2**63 - 1))
    assert are_new() == [1]


def test_only_the_first_of_many_unknown_ids_are_named(api: Api) -> None:
    body = {"list_submission_fold": list(range(100_000))}
    said = refused(api, "testpredictions/list/", body, "list_submission_fold", "0, 1, 2")
    assert len(said["list_submission_fold"][0]) < 200


@pytest.mark.parametrize("ids", [None, 1, "1", "1,2", {}, {"1": 1}, True])
def test_ids_come_as_a_list(api: Api, ids: object) -> None:
    refused(api, "testpredictions/list/", {"list_submission_fold": ids}, "list_submission_fold")


@pytest.mark.parametrize("id", [-1, 2**63, 10**40, 1.5, "", "one", None, True, [1], {"id": 1}, "\ud800"])
def test_what_is_no_id_is_named_by_its_position(api: Api, raw_data: int, id: object) -> None:
    succeeded(post_fold(api, raw_data))
    body = {"list_submission_fold": [1, id]}
    refused(api, "testpredictions/list/", body, "list_submission_fold", "position 1")
    assert are_new() == [1]


def test_the_list_of_ids_is_required(api: Api) -> None:
    refused(api, "testpredictions/list/", {}, "list_submission_fold", "required")


# --- new ones ------------------------------------------------------------------------------------------


def test_new_ones_are_handed_out_once_and_stay_readable(api: Api, raw_data: int) -> None:
    for fold in (1, 2):
        succeeded(post_fold(api, raw_data, fold, fold))
    first = new(api)
    assert ids_of(first) == [1, 2]
    assert new(api) == []
    assert new(organiser("other")) == []
    assert listed(api, 1, 2) == first
    assert ids_of(api.ask("submissionfold-light/").json()) == [1, 2]


def test_only_tested_ones_are_new(api: Api, raw_data: int) -> None:
    tasks = [post_fold(api, raw_data, fold, fold) for fold in range(1, 6)]
    start(tasks[1])
    fail(tasks[2], "user_error", "broken")
    states.cancel(Job.objects.filter(pk=tasks[3]))
    succeeded(tasks[4])
    assert ids_of(new(api)) == [5]
    succeeded(tasks[0])
    assert ids_of(new(api)) == [1]


def test_new_ones_of_one_data_set(api: Api, raw_data: int) -> None:
    other = ready_data(api, name="other")
    succeeded(post_fold(api, raw_data, 1, 1))
    succeeded(post_fold(api, other, 2, 2))
    assert ids_of(new(api, other)) == [2]
    assert new(api, other) == []
    assert ids_of(new(api, raw_data)) == [1]


def test_null_means_any_data_set(api: Api, raw_data: int) -> None:
    succeeded(post_fold(api, raw_data))
    assert ids_of(rows(api.send("testpredictions/new/", {"raw_data_id": None}))) == [1]


def test_an_empty_request_means_any_data_set(api: Api, raw_data: int) -> None:
    succeeded(post_fold(api, raw_data))
    assert ids_of(rows(api.post("/runapp/testpredictions/new/"))) == [1]


def test_unknown_raw_data_is_named_and_nothing_is_marked(api: Api, raw_data: int) -> None:
    succeeded(post_fold(api, raw_data))
    ids: tuple[object, ...] = (raw_data + 1, 2**63 - 1, -1, 2**63, "x", True, 1.5, [], {})
    for id in ids:
        refused(api, "testpredictions/new/", {"raw_data_id": id}, "raw_data_id")
    assert are_new() == [1]


def test_a_replaced_fold_is_new_again(api: Api, raw_data: int) -> None:
    succeeded(post_fold(api, raw_data))
    new(api)
    answer = accepted(api.send("submissionfold/", further_fold_body(1, force="submission_fold")))
    succeeded(answer["task_id"], train=TRAIN + 1)
    (again,) = new(api)
    assert unpack(again["full_train_predictions"]) == (TRAIN + 1).tobytes()


def test_folds_of_one_submission_have_predictions_of_their_own(api: Api, raw_data: int) -> None:
    first = post_fold(api, raw_data, 1)
    body = further_fold_body(2, train_is=pack_indices(5), test_is=pack_indices(6))
    second = accepted(api.send("submissionfold/", body))["task_id"]
    succeeded(second, test=TEST + 2)
    succeeded(first, test=TEST + 1)
    assert [unpack(answer["test_predictions"]) for answer in new(api)] == [
        (TEST + 1).tobytes(),
        (TEST + 2).tobytes(),
    ]


@pytest.mark.django_db(transaction=True)
def test_callers_at_once_share_the_new_ones_without_overlap() -> None:
    api = organiser()
    raw_data = ready_data(api)
    for fold in range(30):
        succeeded(post_fold(api, raw_data, fold, fold))
    shares = at_once(*(lambda: new(api) for _ in range(6)))
    handed_out = [id for share in shares for id in ids_of(share)]
    assert sorted(handed_out) == list(range(30))
    assert are_new() == []


@pytest.mark.django_db(transaction=True)
def test_a_caller_neither_waits_for_another_nor_takes_what_it_is_taking() -> None:
    api = organiser()
    raw_data = ready_data(api)
    for fold in (1, 2, 3):
        succeeded(post_fold(api, raw_data, fold, fold))
    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        taking = SubmissionFold.objects.select_for_update().filter(pk=2)
        taking.update(new=False)
        assert ids_of(in_thread(pool, lambda: new(api)).result(timeout=PATIENCE)) == [1, 3]
    assert new(api) == []


@pytest.mark.django_db(transaction=True)
def test_what_is_marked_is_marked_before_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that breaks on its way has used up the folds: they stay readable by their ids."""
    api = organiser()
    succeeded(post_fold(api, ready_data(api)))
    api.raise_request_exception = False
    with monkeypatch.context() as broken:
        broken.setattr("rest_framework.renderers.JSONRenderer.render", lambda *args: 1 / 0)
        assert api.send("testpredictions/new/", {}).status_code == 500
    assert new(api) == []
    assert ids_of(listed(api, 1)) == [1]


def test_predictions_of_data_that_is_not_prepared_never_come(api: Api) -> None:
    raw_data = post_data(api, name="unprepared")
    accepted(api.send("submissionfold/", fold_body(raw_data)))
    assert new(api, raw_data) == []
    assert are_new() == [1]
