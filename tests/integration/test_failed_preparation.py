"""A preparation that fails, or is cancelled, fails the folds that wait for it, with its reason."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from datarun.contract.states import JobState
from runapp import states
from runapp.models import Job, PreparedData, SubmissionFold
from runapp.services import jobs, raw_data, results
from tests.integration.helpers import (
    Api,
    accepted,
    finish_preparation,
    organiser,
    post_data,
    post_fold,
    prepared,
    split,
    start,
    unprepared,
)

pytestmark = pytest.mark.django_db

REASON = "ValueError: pandas can't read it"


@pytest.fixture
def api() -> Api:
    return organiser()


def job(task: str) -> Job:
    return Job.objects.get(pk=task)


def failed(task: str, reason: str) -> bool:
    """Whether the fold has failed for its data, and says why."""
    found = job(task)
    return (found.state, found.failure) == (JobState.FAILED, "data") and reason in found.message


# --- failed --------------------------------------------------------------------------------------------


def test_all_folds_that_wait_fail_with_its_reason(api: Api) -> None:
    data = post_data(api)
    before_split = post_fold(api, data, 1, 1)
    task = split(api, data)
    after_split = post_fold(api, data, 2, 2)
    unprepared(task, REASON)
    later = post_fold(api, data, 3, 3)
    for fold, one in enumerate((before_split, after_split, later), start=1):
        assert failed(one, f"The data set flowers could not be prepared.\n{REASON}")
        answer = api.ask(f"submissionfold/{fold}/").json()
        assert (answer["state"], answer["waiting"]) == ("ERROR", None)
        assert REASON in answer["log_messages"]
        assert job(one).deadline is None


def test_folds_of_other_data_sets_go_on_waiting(api: Api) -> None:
    bad, good = post_data(api, name="bad"), post_data(api, name="good")
    one, other = post_fold(api, bad, 1, 1), post_fold(api, good, 2, 2)
    task = split(api, bad)
    split(api, good)
    unprepared(task, REASON)
    assert failed(one, REASON)
    assert job(other).state == JobState.CREATED


def test_folds_of_an_earlier_version_are_not_concerned(api: Api) -> None:
    data = post_data(api)
    prepared(split(api, data))
    ready = post_fold(api, data, 1, 1)
    task = split(api, data, 0.5)
    one = post_fold(api, data, 2, 2)
    unprepared(task, REASON)
    assert failed(one, REASON)
    assert (job(ready).state, job(ready).waits_for_data) == (JobState.CREATED, False)


def test_a_fold_that_was_cancelled_while_it_waited_stays_so(api: Api) -> None:
    data = post_data(api)
    one = post_fold(api, data)
    task = split(api, data)
    api.send("submissionfold/1/cancel/", {})
    unprepared(task, REASON)
    assert job(one).state == JobState.CANCELLED


@pytest.mark.parametrize("kind", ["environment", "lost"])
def test_while_it_is_tried_again_its_folds_wait(api: Api, kind: str) -> None:
    data = post_data(api)
    one, task = post_fold(api, data), split(api, data)
    start(task)
    results.record([results.Outcome(task, 1, "runner-1", failure=kind, message="The disk is full.")])
    assert (job(task).state, job(one).state) == (JobState.CREATED, JobState.CREATED)
    prepared(task)
    assert (job(one).state, job(one).waits_for_data) == (JobState.CREATED, False)


def test_once_it_was_tried_again_with_success_its_folds_run_again(api: Api) -> None:
    data = post_data(api)
    one, task = post_fold(api, data), split(api, data)
    unprepared(task, REASON)
    assert split(api, data) == task
    prepared(task)
    assert failed(one, REASON), "nobody has asked for it"
    assert accepted(api.send("submission/1/rerun/", {"failed_only": True}), 200) == {"jobs": 1}
    assert (job(one).state, job(one).waits_for_data) == (JobState.CREATED, False)


# --- cancelled -----------------------------------------------------------------------------------------


def test_a_waiting_preparation_is_cancelled_at_once_and_so_end_its_folds(api: Api) -> None:
    data = post_data(api)
    one, task = post_fold(api, data), split(api, data)
    assert accepted(api.send(f"rawdata/{data}/cancel/", {}), 200) == {"jobs": 1}
    assert job(task).state == JobState.CANCELLED
    assert failed(one, "The data set flowers could not be prepared.\nIt was cancelled.")
    assert accepted(api.send(f"rawdata/{data}/cancel/", {}), 200) == {"jobs": 0}


def test_a_running_one_is_cancelled_when_its_runner_says_that_it_is_gone(api: Api) -> None:
    data = post_data(api)
    one, task = post_fold(api, data), split(api, data)
    attempt = start(task)
    assert accepted(api.send(f"rawdata/{data}/cancel/", {}), 200) == {"jobs": 1}
    assert (job(task).state, job(one).state) == (JobState.RUNNING, JobState.CREATED)
    results.record([results.Stopped(task, attempt, "runner-1")])
    assert job(task).state == JobState.CANCELLED
    assert failed(one, "It was cancelled.")


def test_what_is_prepared_stays_prepared(api: Api) -> None:
    data = post_data(api)
    prepared(task := split(api, data))
    one = post_fold(api, data)
    assert accepted(api.send(f"rawdata/{data}/cancel/", {}), 200) == {"jobs": 0}
    assert (job(task).state, job(one).waits_for_data) == (JobState.SUCCEEDED, False)


def test_a_data_set_that_is_not_there_can_t_be_cancelled(api: Api) -> None:
    assert api.send("rawdata/7/cancel/", {}).status_code == 404


# --- by the admin pages --------------------------------------------------------------------------------


@pytest.fixture
def browser() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def act(browser: Client, action: str) -> str:
    """What the page of preparations says after this action on all of them."""
    chosen = {"action": action, "_selected_action": PreparedData.objects.values_list("pk", flat=True)}
    answer = browser.post(reverse("admin:runapp_prepareddata_changelist"), chosen, follow=True)
    return str(answer.content.decode())


def test_an_admin_cancels_preparations_and_runs_them_again(api: Api, browser: Client) -> None:
    data = post_data(api)
    one, task = post_fold(api, data), split(api, data)
    assert "1 jobs cancelled" in act(browser, "cancel")
    assert job(task).state == JobState.CANCELLED
    assert failed(one, "It was cancelled.")
    assert "1 jobs run again" in act(browser, "rerun")
    assert job(task).state == JobState.CREATED
    later = post_fold(api, data, 2, 2)
    assert job(later).waits_for_data
    prepared(task)
    assert not job(later).waits_for_data


def test_a_preparation_that_runs_is_not_run_again(api: Api, browser: Client) -> None:
    task = split(api, post_data(api))
    start(task)
    assert "0 jobs run again" in act(browser, "rerun")
    finish_preparation(task)
    assert job(task).state == JobState.SUCCEEDED


def test_while_a_prepared_data_set_is_prepared_again_new_folds_wait_and_old_ones_go_on(api: Api) -> None:
    data = post_data(api)
    prepared(task := split(api, data))
    old = post_fold(api, data, 1, 1)
    assert jobs.rerun_preparations(PreparedData.objects.all()) == 1
    new = post_fold(api, data, 2, 2)
    assert [job(one).waits_for_data for one in (old, new)] == [False, True]
    assert states.queue([job(old).pk])
    prepared(task)
    assert not job(new).waits_for_data


def test_folds_that_run_on_it_are_not_failed_by_a_second_preparation(api: Api) -> None:
    data = post_data(api)
    prepared(task := split(api, data))
    old = post_fold(api, data, 1, 1)
    jobs.rerun_preparations(PreparedData.objects.all())
    unprepared(task, REASON)
    assert job(old).state == JobState.CREATED
    assert SubmissionFold.objects.get(pk=1).prepared == raw_data.prepared_by(task)
