"""A whole submission: folds made in one call, scores kept fold by fold and added up, as numpy adds them."""

import numpy as np
import pytest

from runapp.models import Job, Score, SubmissionFold, SubmissionScore
from tests.integration.helpers import (
    CUT,
    Api,
    accepted,
    cut,
    fail,
    folds_of,
    organiser,
    post_scored,
    ready_scored,
    score,
    split,
    submit,
    unprepared,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def api() -> Api:
    return organiser()


def detail(api: Api, submission: int) -> dict:
    return accepted(api.ask(f"submission/{submission}/"), 200)


def test_submitting_makes_a_fold_for_each_of_the_data_set(api: Api) -> None:
    submission = submit(api, ready_scored(api))
    folds = folds_of(submission)
    assert [fold.cv_fold.number for fold in folds] == [0, 1, 2]
    for fold, (train, test) in zip(folds, CUT, strict=True):
        assert bytes(fold.train_is.content) == np.array(train, "<i8").tobytes()
        assert bytes(fold.test_is.content) == np.array(test, "<i8").tobytes()
        assert (fold.job.state, fold.job.waits_for_data) == ("created", False)
    assert [fold["state"] for fold in detail(api, submission)["folds"]] == ["TODO"] * 3


def test_a_submission_waits_for_its_data_set_and_then_gets_its_folds(api: Api) -> None:
    raw_data = post_scored(api)
    submission = submit(api, raw_data)
    assert not folds_of(submission)
    assert "not been split yet" in detail(api, submission)["waiting"]["text"]
    task = split(api, raw_data)
    assert "waits to be prepared" in detail(api, submission)["waiting"]["text"]
    cut(task)
    assert len(folds_of(submission)) == 3
    assert detail(api, submission)["failure"] is None


def test_a_submission_shows_why_its_data_set_cant_be_prepared(api: Api) -> None:
    raw_data = post_scored(api)
    submission = submit(api, raw_data)
    unprepared(split(api, raw_data), "ValueError: n_splits=3 cannot be greater than the number of members")
    shown = detail(api, submission)
    assert shown["failure"]["kind"] == "data"
    assert "n_splits=3" in shown["failure"]["message"]
    assert shown["waiting"] is None
    cut(split(api, raw_data))  # the organiser mends it
    assert len(folds_of(submission)) == 3


def test_scores_are_kept_by_fold_and_added_up_as_numpy_does(api: Api) -> None:
    submission = submit(api, ready_scored(api))
    values = [0.1, 0.7, 1 / 3]
    for fold, value in zip(folds_of(submission), values, strict=True):
        score(fold, value)
    shown = detail(api, submission)
    assert [fold["scores"]["valid"]["accuracy"] for fold in shown["folds"]] == values
    (valid,) = [each for each in shown["scores"] if (each["metric"], each["part"]) == ("accuracy", "valid")]
    assert (valid["mean"], valid["std"], valid["folds"]) == (
        float(np.mean(np.array(values)[:, None], axis=0)[0]),
        float(np.std(np.array(values)[:, None], axis=0)[0]),
        3,
    )


def test_a_fold_that_runs_again_has_no_scores_meanwhile(api: Api) -> None:
    submission = submit(api, ready_scored(api))
    first, second, _ = folds_of(submission)
    score(first, 0.5)
    score(second, 0.7)
    accepted(api.send(f"submissionfold/{second.pk}/rerun/", {}), 200)
    assert set(Score.objects.values_list("fold", flat=True)) == {first.pk}
    assert set(SubmissionScore.objects.values_list("folds", "std")) == {(1, 0.0)}
    accepted(api.send(f"submissionfold/{first.pk}/rerun/", {}), 200)
    assert not Score.objects.exists()
    assert not SubmissionScore.objects.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e200, -1.7e308])
def test_scores_beyond_all_bounds_harm_nobody(api: Api, value: float) -> None:
    submission = submit(api, ready_scored(api))
    for fold in folds_of(submission):
        score(fold, value)
    assert Score.objects.filter(part="valid", metric="accuracy").count() == 3
    assert [fold["state"] for fold in detail(api, submission)["folds"]] == ["TESTED"] * 3


def test_what_failed_is_explained(api: Api) -> None:
    submission = submit(api, ready_scored(api))
    fold, *_ = folds_of(submission)
    fail(str(fold.job_id), "user_error", "Traceback\n  line\nValueError: no")
    shown = detail(api, submission)["folds"][0]
    assert shown["state"] == "ERROR"
    assert shown["failure"] == {"kind": "user_error", "message": "Traceback\n  line\nValueError: no"}


def test_deleting_a_submission_takes_everything_of_it(api: Api) -> None:
    submission = submit(api, ready_scored(api))
    first, second, third = folds_of(submission)
    score(first)
    score(second)
    first.delete()
    assert set(SubmissionScore.objects.values_list("folds", flat=True)) == {1}
    second.databoard_s.delete()
    assert not SubmissionFold.objects.exists()
    assert not SubmissionScore.objects.exists()
    assert Job.objects.get(pk=third.job_id).state == "cancelled"
    assert not Job.objects.filter(kind="ensemble").exclude(state="cancelled").exists()
