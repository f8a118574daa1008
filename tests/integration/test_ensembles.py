"""Bagging and blending run when there is something new to combine: once at a time, and none is forgotten."""

from typing import Any

import pytest
from django.db.models import F

from datarun.contract.messages import EnsembleOrder
from runapp import states
from runapp.models import Ensemble, Job, Score, SubmissionFold
from runapp.services import ensembles, orders, results
from tests.integration.helpers import (
    CUT,
    Api,
    accepted,
    finish,
    folds_of,
    organiser,
    ready_scored,
    score,
    start,
    submit,
)
from tests.integration.jobs import while_uncommitted

pytestmark = pytest.mark.django_db

CURVE = {"accuracy": [0.7, 0.8, 0.9]}


@pytest.fixture
def api() -> Api:
    return organiser()


@pytest.fixture
def raw_data(api: Api) -> int:
    return ready_scored(api)


def bagging(submission: int) -> Ensemble:
    return Ensemble.objects.select_related("job").get(submission=submission)


def blending(raw_data: int) -> Ensemble:
    return Ensemble.objects.select_related("job").get(raw_data=raw_data, submission=None)


def taken(ensemble: Ensemble) -> EnsembleOrder:
    """A runner takes its order; returns that."""
    assert ensemble.job is not None
    Job.objects.update(not_before=F("created_at"))
    start(str(ensemble.job_id))
    ((_, order),) = orders.build([ensemble.job_id])
    assert isinstance(order, EnsembleOrder)
    return order


def bagged(submission: int, **facts: Any) -> None:
    finish(
        str(bagging(submission).job_id),
        facts={"scores": {}, "bagged": {"valid": CURVE, "test": CURVE}} | facts,
    )


def all_scored(submission: int, valid: float = 0.75) -> None:
    for fold in folds_of(submission):
        score(fold, valid)


def shown(api: Api, submission: int, part: str = "valid", metric: str = "accuracy") -> dict[str, Any]:
    rows = accepted(api.ask(f"submission/{submission}/"), 200)["scores"]
    (row,) = [each for each in rows if (each["metric"], each["part"]) == (metric, part)]
    return dict(row)


def test_folds_are_bagged_after_each_of_them(api: Api, raw_data: int) -> None:
    submission = submit(api, raw_data)
    assert bagging(submission).job is None
    first, second, third = folds_of(submission)
    score(second)
    order = taken(bagging(submission))
    assert not order.blend
    assert [each.fold for each in order.predicted] == [1]
    assert len(order.folds) == len(CUT)
    score(first)
    score(third)
    bagged(submission)  # without the two that came meanwhile
    assert bagging(submission).job.state == "created"
    assert [each.fold for each in taken(bagging(submission)).predicted] == [0, 1, 2]
    bagged(submission)
    assert bagging(submission).job.state == "succeeded"
    assert (shown(api, submission)["bagged"], shown(api, submission)["curve"]) == (0.9, [0.7, 0.8, 0.9])


def test_an_order_encloses_what_it_names_or_has_it_as_blobs(api: Api, raw_data: int) -> None:
    from runapp.models import Blob

    submission = submit(api, raw_data)
    all_scored(submission)
    order = taken(bagging(submission))
    names = {name for each in order.predicted for name in (each.train, each.test)}
    assert names <= set(order.enclosed) | set(Blob.objects.values_list("pk", flat=True))


def test_what_bagging_computed_of_older_predictions_does_not_count(api: Api, raw_data: int) -> None:
    submission = submit(api, raw_data)
    all_scored(submission)
    taken(bagging(submission))
    fold, *_ = folds_of(submission)
    accepted(api.send(f"submissionfold/{fold.pk}/rerun/", {}), 200)
    bagged(submission, scores={"0": {"valid": {"accuracy": 0.1}}})
    assert not Score.objects.filter(fold=fold).exists()
    assert shown(api, submission)["bagged"] is None
    assert [each.fold for each in taken(bagging(submission)).predicted] == [1, 2]


def test_nothing_is_bagged_when_nothing_is_left(api: Api, raw_data: int) -> None:
    submission = submit(api, raw_data)
    all_scored(submission)
    accepted(api.send(f"submission/{submission}/rerun/", {}), 200)
    assert bagging(submission).job.state == "cancelled"
    all_scored(submission, 0.8)
    assert bagging(submission).job.state == "created"
    assert len(taken(bagging(submission)).predicted) == 3


def test_a_bagging_that_is_lost_is_tried_again_with_all_that_came(api: Api, raw_data: int) -> None:
    submission = submit(api, raw_data)
    first, *others = folds_of(submission)
    score(first)
    taken(bagging(submission))
    for fold in others:
        score(fold)
    Job.objects.filter(kind="ensemble").update(deadline=F("created_at"))
    job = bagging(submission).job
    assert results.lose({job: "gone"}) == {job.pk}
    assert len(taken(bagging(submission)).predicted) == 3


def test_a_metric_that_comes_later_scores_what_is_there(api: Api, raw_data: int) -> None:
    submission = submit(api, raw_data)
    all_scored(submission)
    taken(bagging(submission))
    bagged(submission)
    accepted(api.send(f"rawdata/{raw_data}/metrics/", {"metrics": "balanced_accuracy"}), 200)
    assert taken(bagging(submission)).metrics == ("accuracy", "neg_log_loss", "balanced_accuracy")
    later = {str(number): {"valid": {"balanced_accuracy": 0.25}} for number in range(3)}
    bagged(submission, scores=later)
    row = shown(api, submission, metric="balanced_accuracy")
    assert (row["mean"], row["std"], row["folds"]) == (0.25, 0.0, 3)
    assert set(SubmissionFold.objects.values_list("job__attempt", flat=True)) == {1}


def test_complete_submissions_are_blended_once_their_folds_are_bagged(api: Api, raw_data: int) -> None:
    better, worse, incomplete = (submit(api, raw_data, name) for name in ("better", "worse", "incomplete"))
    all_scored(worse, 0.5)
    score(folds_of(incomplete)[0])
    assert blending(raw_data).job is None
    for submission, value in ((worse, None), (better, 0.9)):
        if value:
            all_scored(submission, value)
        taken(bagging(submission))
        bagged(submission)
    order = taken(blending(raw_data))
    assert order.blend
    assert {each.submission for each in order.predicted} == {better, worse}
    share = {str(better): 0.75, str(worse): 0.25}
    finish(
        str(blending(raw_data).job_id),
        facts={"contributivity": share, "bagged": {"valid": {"accuracy": 0.95}, "test": {"accuracy": 0.85}}},
    )
    assert blending(raw_data).result["contributivity"] == share
    assert blending(raw_data).job.state == "succeeded"


def test_only_the_best_are_blended(api: Api, raw_data: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensembles, "MOST_BLENDED", 1)
    for name, value in (("worse", 0.5), ("best", 0.9), ("odd", float("nan"))):
        all_scored(submission := submit(api, raw_data, name), value)
        taken(bagging(submission))
        bagged(submission)
    (best,) = {each.submission for each in taken(blending(raw_data)).predicted}
    assert shown(api, best)["mean"] == 0.9


def test_one_blending_at_a_time_and_another_for_all_that_came_meanwhile(api: Api, raw_data: int) -> None:
    submissions = [submit(api, raw_data, name) for name in "abc"]
    for number, submission in enumerate(submissions):
        all_scored(submission)
        taken(bagging(submission))
        bagged(submission)
        if number == 0:
            taken(blending(raw_data))
    assert Job.objects.filter(kind="ensemble", state="running").count() == 1
    finish(str(blending(raw_data).job_id), facts={"contributivity": {str(submissions[0]): 1.0}, "bagged": {}})
    job = blending(raw_data).job
    assert (job.state, job.earlier.count()) == ("created", 1)
    assert {each.submission for each in taken(blending(raw_data)).predicted} == set(submissions)


def test_an_ensemble_that_fails_says_why_and_runs_again_with_the_next_fold(api: Api, raw_data: int) -> None:
    submission = submit(api, raw_data)
    first, second, _ = folds_of(submission)
    score(first)
    taken(bagging(submission))
    finish(str(bagging(submission).job_id), failure="data", message="ValueError: labels")
    answer = accepted(api.ask(f"submission/{submission}/"), 200)["bagging"]
    assert (answer["state"], answer["failure"]) == (
        "failed",
        {"kind": "data", "message": "ValueError: labels"},
    )
    score(second)
    assert len(taken(bagging(submission)).predicted) == 2


def test_deleting_a_submission_ends_its_bagging(api: Api, raw_data: int) -> None:
    submission = submit(api, raw_data)
    all_scored(submission)
    job = bagging(submission).job
    folds_of(submission)[0].databoard_s.delete()
    assert Job.objects.get(pk=job.pk).state == "cancelled"
    assert states.queue([job.pk]) == set()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("fold_first", [True, False])
def test_what_ends_at_the_same_moment_is_not_forgotten(api: Api, fold_first: bool) -> None:
    raw_data = ready_scored(api)
    submission = submit(api, raw_data)
    first, second, _ = folds_of(submission)
    score(first)
    taken(bagging(submission))
    ends = [lambda: score(second), lambda: bagged(submission)]
    while_uncommitted(*(ends if fold_first else reversed(ends)))
    assert bagging(submission).job.state == "created"
    assert [each.fold for each in taken(bagging(submission)).predicted] == [0, 1]
    bagged(submission)
    assert bagging(submission).job.state == "succeeded"
