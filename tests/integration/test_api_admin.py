"""The admin page shows everything that there is, readably, and changes no more than it may."""

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries
from rest_framework.authtoken.models import TokenProxy

from datarun.contract.messages import Heartbeat, Outcome
from datarun.contract.states import JobState
from runapp.models import Job, PreparedData, RawData, Runner, Submission, SubmissionFold
from runapp.services import results, runners, tokens
from tests.integration.helpers import (
    RUNNER,
    accepted,
    fail,
    folds_of,
    organiser,
    post_custom_data,
    post_data,
    post_fold,
    ready_data,
    ready_scored,
    score,
    split,
    start,
    submit,
    succeeded,
    unprepared,
)

pytestmark = pytest.mark.django_db

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
OURS = [model for model in MODELS if model._meta.app_label == "runapp"]
every_model = pytest.mark.parametrize("model", MODELS, ids=[model._meta.label for model in MODELS])
REASON = 'Traceback:\n  File "classifier.py", line 3\nValueError: <script>alert(1)</script>'


@pytest.fixture
def browser() -> Client:
    client = Client()
    client.force_login(User.objects.create(username="ada", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def _rows(browser: Client) -> None:
    """A row or more of everything, in every state."""
    api = organiser("ada")
    ready = ready_data(api)
    unprepared(split(api, post_data(api, name="broken")))
    post_fold(api, post_custom_data(api, name="<b>custom</b>"), 9, 9)
    tasks = [post_fold(api, ready, fold, fold) for fold in range(1, 6)]
    start(tasks[0])
    succeeded(tasks[1], log="fitted")
    fail(tasks[2], "user_error", REASON)
    results.record([Outcome(tasks[4], 99, "stranger")])  # dropped
    heartbeat = Heartbeat(
        RUNNER, queues=("L", "H"), slots=2, running={tasks[0]: 1}, versions={"python": "3.11"}
    )
    results.note([heartbeat])
    runners.new_token(RUNNER)
    tokens.create(User.objects.get(username="ada"), "laptop", days=1)


@pytest.fixture
def _scored(_rows: None) -> None:
    """What whole submissions have beside that."""
    api = organiser("ada")
    first, *_ = folds_of(submit(api, ready_scored(api, name="scored")))
    score(first)
    accepted(api.send(f"submissionfold/{first.pk}/replay/", {}))


def page(browser: Client, model: type[Model], what: str = "changelist", *args: Any, **query: str) -> str:
    answer = browser.get(
        reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{what}", args=args), query
    )
    assert answer.status_code == 200, f"{model._meta.label} {what} {query}"
    return answer.content.decode()


def test_strangers_and_organisers_are_sent_to_log_in() -> None:
    organiser_browser = Client()
    organiser_browser.force_login(User.objects.create(username="eve"))
    for client in (Client(), organiser_browser):
        answer = client.get("/admin/")
        assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/login/?next=/admin/")


@pytest.mark.usefixtures("_rows")
def test_the_front_page_names_what_there_is(browser: Client) -> None:
    content = browser.get("/admin/").content.decode()
    for model in MODELS:
        assert reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist") in content


@pytest.mark.usefixtures("_scored")
@every_model
def test_every_list_and_every_row_is_shown(browser: Client, model: type[Model]) -> None:
    rows = list(model._default_manager.all())
    assert rows or model._meta.app_label != "runapp", "the test's rows lack one of these"
    content = page(browser, model)
    for row in rows:
        if model is not TokenProxy:
            assert (
                reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[row.pk])
                in content
            )
        page(browser, model, "change", row.pk)
        page(browser, model, "delete", row.pk)
        page(browser, model, "history", row.pk)


@pytest.mark.usefixtures("_scored")
@every_model
def test_every_column_sorts_and_every_search_searches(browser: Client, model: type[Model]) -> None:
    columns = len(admin.site._registry[model].list_display)
    for column in range(1, columns + 1):
        page(browser, model, o=str(column))
    for wanted in ("1", "flowers", "%", "'", "<b>", "é", "9" * 40):
        page(browser, model, q=wanted)


@pytest.mark.usefixtures("_rows")
@pytest.mark.parametrize("state", JobState)
def test_jobs_and_folds_are_filtered_by_state(browser: Client, state: JobState) -> None:
    page(browser, Job, state__exact=state)
    page(browser, SubmissionFold, job__state__exact=state)


@pytest.mark.usefixtures("_rows")
def test_a_failed_fold_says_why_and_what_a_submission_wrote_is_only_text(browser: Client) -> None:
    for content in (page(browser, SubmissionFold), page(browser, SubmissionFold, "change", 3)):
        assert "ValueError: &lt;script&gt;alert(1)&lt;/script&gt;" in content
        assert "<script>alert(1)</script>" not in content
    assert "<b>custom</b>" not in page(browser, RawData)


@pytest.mark.usefixtures("_rows")
def test_a_tokens_hash_is_not_shown(browser: Client) -> None:
    (model,) = (model for model in OURS if model._meta.model_name == "runnertoken")
    token = model._default_manager.get()
    for content in (page(browser, model), page(browser, model, "change", token.pk)):
        assert token.sha256 not in content  # type: ignore[attr-defined]


@pytest.mark.parametrize("model", OURS, ids=[model._meta.label for model in OURS])
def test_rows_of_the_platform_are_not_made_by_hand(browser: Client, model: type[Model]) -> None:
    add = reverse(f"admin:runapp_{model._meta.model_name}_add")
    assert browser.get(add).status_code == 403
    assert browser.post(add, {}).status_code == 403


@pytest.mark.usefixtures("_rows")
def test_a_jobs_state_is_not_changed_by_hand(browser: Client) -> None:
    job = Job.objects.filter(state=JobState.RUNNING).get()
    change = reverse("admin:runapp_job_change", args=[job.pk])
    assert browser.post(change, {"state": "succeeded"}).status_code == 403
    job.refresh_from_db()
    assert job.state == JobState.RUNNING


@pytest.mark.usefixtures("_rows")
def test_folds_are_cancelled(browser: Client) -> None:
    chosen = {"action": "cancel", "_selected_action": "4"}
    answer = browser.post(reverse("admin:runapp_submissionfold_changelist"), chosen, follow=True)
    assert b"1 jobs cancelled" in answer.content
    assert organiser("ada").ask("submissionfold/4/").json()["state"] == "ERROR"


@pytest.mark.usefixtures("_rows")
def test_submissions_are_cancelled_and_run_again(browser: Client) -> None:
    """4 waits; 2 has succeeded, 3 has failed."""

    def act(action: str) -> str:
        chosen = {"action": action, "_selected_action": ["2", "3", "4"]}
        answer = browser.post(reverse("admin:runapp_submission_changelist"), chosen, follow=True)
        return str(answer.content.decode())

    def states() -> list[str]:
        folds = SubmissionFold.objects.filter(databoard_s__in=[2, 3, 4]).order_by("pk")
        return [fold.job.state for fold in folds.select_related("job")]

    assert "1 jobs cancelled" in act("cancel")
    assert states() == ["succeeded", "failed", "cancelled"]
    assert "2 jobs run again" in act("rerun_failed")
    assert states() == ["succeeded", "created", "created"]
    assert "1 jobs run again" in act("rerun")
    assert states() == ["created", "created", "created"]
    assert "3 jobs cancelled" in act("cancel")


@pytest.mark.usefixtures("_rows")
def test_a_preparation_that_failed_says_why(browser: Client) -> None:
    content = page(browser, PreparedData)
    assert "data: ValueError: pandas can&#x27;t read it" in content


@pytest.mark.usefixtures("_rows")
def test_jobs_are_filtered_by_queue_and_runner(browser: Client) -> None:
    def shown(**query: str) -> int:
        return sum(str(job.pk) in page(browser, Job, **query) for job in Job.objects.all())

    assert shown(queue="celery") == 2
    assert shown(queue="L") == shown(queue="L", kind__exact="fold") == 6
    assert shown(runner=RUNNER) == 5
    assert f"?runner={RUNNER}" in page(browser, Job)


@pytest.mark.usefixtures("_rows")
def test_a_submission_is_deleted_with_its_folds_and_their_jobs_are_cancelled(browser: Client) -> None:
    job = SubmissionFold.objects.get(pk=4).job
    browser.post(reverse("admin:runapp_submission_delete", args=[4]), {"post": "yes"})
    assert not Submission.objects.filter(pk=4).exists()
    assert not SubmissionFold.objects.filter(pk=4).exists()
    job.refresh_from_db()
    assert job.state == JobState.CANCELLED


@pytest.mark.usefixtures("_rows")
def test_a_data_set_is_deleted_with_all_that_hangs_on_it(browser: Client) -> None:
    flowers = RawData.objects.get(name="flowers")
    browser.post(reverse("admin:runapp_rawdata_delete", args=[flowers.pk]), {"post": "yes"})
    assert not RawData.objects.filter(name="flowers").exists()
    assert set(SubmissionFold.objects.values_list("pk", flat=True)) == {9}
    post_data(organiser("ada"))  # its name is free again


@pytest.mark.usefixtures("_rows")
@pytest.mark.parametrize("model", OURS, ids=[model._meta.label for model in OURS])
def test_more_rows_cost_no_more_queries(
    browser: Client, model: type[Model], django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    api = organiser("ada")
    ready = RawData.objects.get(name="flowers").pk
    for n in range(20, 50):
        post_fold(api, ready, n, n)
    with django_assert_max_num_queries(12):
        page(browser, model)


@pytest.mark.usefixtures("_rows")
def test_a_runner_shows_its_versions(browser: Client) -> None:
    assert "3.11" in page(browser, Runner)
