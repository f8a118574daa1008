"""Preparing data sets: splits and their versions, and what folds do while they wait for one."""

import uuid
from collections.abc import Callable
from functools import partial

import pytest
from django.db import transaction

from datarun.contract import queues
from datarun.contract.messages import PrepareOrder
from datarun.contract.states import JobKind, JobState
from runapp import states
from runapp.models import Job, PreparedData, RawData, SubmissionFold
from runapp.services import orders
from tests.integration.helpers import (
    Api,
    accepted,
    finish_preparation,
    fold_body,
    further_fold_body,
    organiser,
    pack_indices,
    post_custom_data,
    post_data,
    post_fold,
    prepared,
    queued_up,
    refused,
    split,
    start,
    unprepared,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def api() -> Api:
    return organiser()


@pytest.fixture
def raw_data(api: Api) -> int:
    return post_data(api)


def custom_split(api: Api, raw_data: int) -> str:
    return str(accepted(api.send("rawdata/customsplit/", {"raw_data_id": raw_data}), 200)["task_id"])


def version_of(fold: int) -> str | None:
    """The task_id of the preparation that the fold runs on."""
    version = SubmissionFold.objects.get(pk=fold).prepared
    return None if version is None else str(version.job_id)


def detail(api: Api, fold: int) -> dict[str, object]:
    return accepted(api.ask(f"submissionfold/{fold}/"), 200)


def can_start(task_id: str) -> bool:
    with transaction.atomic():
        return bool(states.queue([uuid.UUID(task_id)]))


# --- asking --------------------------------------------------------------------------------------------


def test_a_split_answers_with_the_id_of_its_job_and_nothing_else(api: Api, raw_data: int) -> None:
    answer = accepted(api.send("rawdata/split/", {"raw_data_id": raw_data, "held_out_test": 0.2}), 200)
    job = Job.objects.get(pk=uuid.UUID(answer["task_id"]))
    assert answer == {"task_id": str(job.pk)}
    assert (job.kind, job.queue, job.state) == (JobKind.PREPARE, queues.PREPARATION, JobState.CREATED)
    assert PreparedData.objects.values_list("held_out_test", "random_state").get() == (0.2, 42)


def test_a_custom_split_answers_alike(api: Api) -> None:
    raw_data = post_custom_data(api)
    answer = accepted(api.send("rawdata/customsplit/", {"raw_data_id": raw_data}), 200)
    assert answer == {"task_id": str(Job.objects.get().pk)}


def test_the_runner_is_told_the_parameters(api: Api, raw_data: int) -> None:
    task_id = split(api, raw_data, 0.3, random_state=7)
    start(task_id)
    ((_, order),) = orders.build([uuid.UUID(task_id)])
    assert isinstance(order, PrepareOrder)
    assert (order.held_out_test, order.random_state) == (0.3, 7)
    assert set(order.data.files) == {"flowers.csv"}


@pytest.mark.parametrize(
    "share",
    [0, 1, 0.0, 1.0, -0.1, 1.0001, -1, 2, 10**400, True, False, "", "a", "nan", "inf", None, [], [0.2], {}],
)
def test_the_held_out_share_lies_between_0_and_1(api: Api, raw_data: int, share: object) -> None:
    body = {"raw_data_id": raw_data, "held_out_test": share}
    refused(api, "rawdata/split/", body, "held_out_test")


@pytest.mark.parametrize("share", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_know_are_refused(api: Api, raw_data: int, share: str) -> None:
    body = f'{{"raw_data_id": {raw_data}, "held_out_test": {share}}}'
    refused(api, "rawdata/split/", body, "detail", "JSON", share)


@pytest.mark.parametrize("share", ["1e999", "-1e999", "1e-999"])
def test_numbers_beyond_float_are_refused(api: Api, raw_data: int, share: str) -> None:
    body = f'{{"raw_data_id": {raw_data}, "held_out_test": {share}}}'
    refused(api, "rawdata/split/", body, "held_out_test")


def test_the_held_out_share_is_required(api: Api, raw_data: int) -> None:
    refused(api, "rawdata/split/", {"raw_data_id": raw_data}, "held_out_test", "required")


@pytest.mark.parametrize("share", [1e-300, 0.999999, 0.5])
def test_any_share_between_is_accepted(api: Api, raw_data: int, share: float) -> None:
    assert split(api, raw_data, share)


@pytest.mark.parametrize("state", [-1, 2**32, 10**30, 1.5, True, "", "a", "nan", None, [], {}])
def test_a_random_state_is_a_number_that_scikit_learn_takes(api: Api, raw_data: int, state: object) -> None:
    body = {"raw_data_id": raw_data, "held_out_test": 0.2, "random_state": state}
    refused(api, "rawdata/split/", body, "random_state")


@pytest.mark.parametrize("state", [0, 2**32 - 1])
def test_the_smallest_and_the_largest_random_state_are_accepted(api: Api, raw_data: int, state: int) -> None:
    split(api, raw_data, random_state=state)
    assert PreparedData.objects.get().random_state == state


@pytest.mark.parametrize("route", ["rawdata/split/", "rawdata/customsplit/"])
@pytest.mark.parametrize("id", [-1, 2**63, 10**30, 1.5, True, "", "a", None, [], {}])
def test_a_raw_data_id_is_a_whole_number(api: Api, route: str, id: object) -> None:
    refused(api, route, {"raw_data_id": id, "held_out_test": 0.2}, "raw_data_id")


@pytest.mark.parametrize("route", ["rawdata/split/", "rawdata/customsplit/"])
def test_an_unknown_id_is_named(api: Api, raw_data: int, route: str) -> None:
    for id in (raw_data + 1, 0, 2**63 - 1):
        refused(api, route, {"raw_data_id": id, "held_out_test": 0.2}, "raw_data_id", str(id))


def test_each_kind_of_data_has_its_own_way_of_splitting(api: Api, raw_data: int) -> None:
    custom = post_custom_data(api)
    refused(
        api, "rawdata/split/", {"raw_data_id": custom, "held_out_test": 0.2}, "raw_data_id", "customsplit/"
    )
    refused(api, "rawdata/customsplit/", {"raw_data_id": raw_data}, "raw_data_id", "rawdata/split/")


# --- asking again --------------------------------------------------------------------------------------


def test_the_same_parameters_again_change_nothing(api: Api, raw_data: int) -> None:
    first = split(api, raw_data)
    assert split(api, raw_data, random_state=42) == first
    start(first)
    assert split(api, raw_data) == first  # while it runs
    assert Job.objects.get().state == JobState.RUNNING
    finish_preparation(first)
    assert split(api, raw_data) == first  # and when it is done
    job = Job.objects.get()
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)
    assert PreparedData.objects.get().n_train == 8


def test_a_custom_split_again_changes_nothing(api: Api) -> None:
    raw_data = post_custom_data(api)
    assert custom_split(api, raw_data) == custom_split(api, raw_data)


def test_other_parameters_make_another_version(api: Api, raw_data: int) -> None:
    tasks = {split(api, raw_data, 0.2), split(api, raw_data, 0.3), split(api, raw_data, 0.2, random_state=1)}
    assert len(tasks) == PreparedData.objects.count() == 3


def test_each_data_set_has_versions_of_its_own(api: Api, raw_data: int) -> None:
    assert split(api, raw_data) != split(api, post_data(api, name="other"))


def test_folds_under_way_keep_their_version(api: Api, raw_data: int) -> None:
    first = split(api, raw_data, 0.2)
    prepared(first)
    waiting, running = post_fold(api, raw_data, 1, 1), post_fold(api, raw_data, 2, 2)
    start(running)
    second = split(api, raw_data, 0.3)
    prepared(second, 7, 3)
    assert (version_of(1), version_of(2)) == (first, first)
    start(waiting)
    ((_, order),) = orders.build([uuid.UUID(waiting)])
    assert (order.data.n_train, order.data.n_test) == (8, 2)
    accepted(api.send("submissionfold/", further_fold_body(3)))
    assert version_of(3) == second


def test_a_fold_that_waits_for_one_split_keeps_waiting_for_it(api: Api, raw_data: int) -> None:
    first = split(api, raw_data, 0.2)
    waiting = post_fold(api, raw_data, 1)
    second = split(api, raw_data, 0.3)
    prepared(second, 7, 3)
    assert version_of(1) == first
    assert not can_start(waiting)
    prepared(first)
    assert can_start(waiting)


def test_asking_for_an_earlier_split_switches_back_to_it(api: Api, raw_data: int) -> None:
    first = split(api, raw_data, 0.2)
    prepared(first)
    second = split(api, raw_data, 0.3)
    post_fold(api, raw_data, 1, 1)
    assert split(api, raw_data, 0.2) == first
    post_fold(api, raw_data, 2, 2)
    assert split(api, raw_data, 0.3) == second
    post_fold(api, raw_data, 3, 3)
    assert [version_of(fold) for fold in (1, 2, 3)] == [second, first, second]


def test_the_rows_of_the_version_in_force_bound_the_indices(api: Api, raw_data: int) -> None:
    prepared(split(api, raw_data, 0.2), 8, 2)
    prepared(split(api, raw_data, 0.5), 5, 5)
    body = fold_body(raw_data, test_is=pack_indices(7))
    problems = api.send("submissionfold/", body).json()
    assert "5 rows" in str(problems)
    split(api, raw_data, 0.2)
    accepted(api.send("submissionfold/", body))


# --- folds that wait -----------------------------------------------------------------------------------


def test_a_fold_posted_before_any_split_waits_for_the_first_one(api: Api, raw_data: int) -> None:
    waiting = post_fold(api, raw_data)
    assert version_of(1) is None
    assert not can_start(waiting)
    task_id = split(api, raw_data)
    assert version_of(1) == task_id
    assert not can_start(waiting)
    assert detail(api, 1)["state"] == "TODO"
    prepared(task_id)
    assert can_start(waiting)


def test_a_fold_posted_while_the_split_runs_waits_for_it(api: Api, raw_data: int) -> None:
    task_id = split(api, raw_data)
    start(task_id)
    waiting = post_fold(api, raw_data)
    assert not can_start(waiting)
    finish_preparation(task_id)
    assert can_start(waiting)


def test_a_fold_of_custom_data_waits_alike(api: Api) -> None:
    raw_data = post_custom_data(api)
    waiting = post_fold(api, raw_data, test_is=pack_indices(10**12))
    task_id = custom_split(api, raw_data)
    assert not can_start(waiting)
    prepared(task_id, n_train=10**12 + 1)
    assert can_start(waiting)


def test_folds_that_wait_fail_with_the_reason_when_preparation_fails(api: Api, raw_data: int) -> None:
    post_fold(api, raw_data, 1, 1)
    task_id = split(api, raw_data)
    post_fold(api, raw_data, 2, 2)
    unprepared(task_id, "ParserError: expected 3 fields in line 5, saw 4")
    for fold in (1, 2):
        answer = detail(api, fold)
        assert answer["state"] == "ERROR"
        assert "flowers could not be prepared" in str(answer["log_messages"])
        assert "expected 3 fields in line 5" in str(answer["log_messages"])


def test_a_fold_posted_after_a_failed_preparation_fails_at_once_with_the_reason(
    api: Api, raw_data: int
) -> None:
    unprepared(split(api, raw_data), "ParserError: expected 3 fields in line 5, saw 4")
    answer = accepted(api.send("submissionfold/", fold_body(raw_data)))
    assert answer["state"] == "ERROR"
    assert "expected 3 fields in line 5" in answer["log_messages"]
    assert answer.items() <= detail(api, 1).items()


def test_a_failure_of_one_version_leaves_folds_of_another_alone(api: Api, raw_data: int) -> None:
    prepared(split(api, raw_data, 0.2))
    fine = post_fold(api, raw_data)
    unprepared(split(api, raw_data, 0.3))
    assert detail(api, 1)["state"] == "TODO"
    assert can_start(fine)


def test_indices_beyond_the_rows_that_pandas_finds_fail_the_fold_that_has_them(
    api: Api, raw_data: int
) -> None:
    task_id = split(api, raw_data)
    post_fold(api, raw_data, 1, 1, test_is=pack_indices(7))
    fine = post_fold(api, raw_data, 2, 2, test_is=pack_indices(6))
    prepared(task_id, n_train=7, n_test=2)  # one of the lines was blank
    assert detail(api, 1)["state"] == "ERROR"
    assert "Index 7 is out of range" in str(detail(api, 1)["log_messages"])
    assert "7 rows" in str(detail(api, 1)["log_messages"])
    assert can_start(fine)


def test_a_failed_split_asked_for_again_is_tried_again(api: Api, raw_data: int) -> None:
    task_id = split(api, raw_data)
    unprepared(task_id)
    assert split(api, raw_data) == task_id
    waiting = post_fold(api, raw_data)
    assert detail(api, 1)["state"] == "TODO"
    prepared(task_id)
    assert can_start(waiting)
    job = Job.objects.get(pk=task_id)
    assert (job.state, job.attempt, job.failure, job.message) == (JobState.SUCCEEDED, 2, "", "")


def test_folds_that_failed_with_their_data_stay_failed(api: Api, raw_data: int) -> None:
    task_id = split(api, raw_data)
    post_fold(api, raw_data)
    unprepared(task_id)
    prepared(split(api, raw_data))
    assert detail(api, 1)["state"] == "ERROR"
    again = accepted(api.send("submissionfold/", further_fold_body(1, force="submission_fold")))
    assert again["state"] == "TODO"
    assert can_start(again["task_id"])


def test_a_cancelled_split_asked_for_again_is_tried_again(api: Api, raw_data: int) -> None:
    task_id = split(api, raw_data)
    states.cancel(Job.objects.filter(pk=task_id))
    assert split(api, raw_data) == task_id
    assert can_start(task_id)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("succeeds", [True, False], ids=["succeeds", "fails"])
@pytest.mark.parametrize("posted_first", [False, True], ids=["ended first", "posted first"])
def test_a_fold_posted_as_its_preparation_ends_neither_starts_early_nor_waits_forever(
    succeeds: bool, posted_first: bool
) -> None:
    api = organiser()
    raw_data = post_data(api)
    task_id = split(api, raw_data)
    calls: list[Callable[[], object]] = [
        partial(prepared if succeeds else unprepared, task_id),
        partial(post_fold, api, raw_data),
    ]
    if posted_first:
        calls.reverse()
    # Both need the data set's row, and whoever comes second sees what the first has done.
    queued_up(lambda: RawData.objects.select_for_update().get(pk=raw_data), *calls)
    fold = detail(api, 1)
    assert fold["state"] == ("TODO" if succeeds else "ERROR")
    assert can_start(str(fold["task_id"])) == succeeds
