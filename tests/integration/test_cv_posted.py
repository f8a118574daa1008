"""A data set's cross-validation and metrics are refused when posted, as far as anything can be known then."""

from typing import Any

import numpy as np
import pytest

from datarun.contract.messages import PrepareOrder
from runapp.models import PreparedData, SubmissionFold
from runapp.services import blobs, orders
from tests.integration.helpers import (
    CODE,
    CUT,
    Api,
    accepted,
    custom_body,
    cut,
    cut_blobs,
    data_body,
    finish,
    folds_of,
    organiser,
    pack,
    pack_indices,
    post_data,
    post_scored,
    ready_scored,
    refused,
    scored_body,
    split,
    start,
    submit,
)
from tests.integration.jobs import while_uncommitted

pytestmark = pytest.mark.django_db


@pytest.fixture
def api() -> Api:
    return organiser()


def kfold(**changed: Any) -> dict[str, Any]:
    return {"splitter": "KFold", "parameters": {"n_splits": 3}} | changed


@pytest.mark.parametrize(
    ("cv", "words"),
    [
        (kfold(splitter="KFlod"), ["KFlod", "did you mean KFold"]),
        (kfold(parameters={"n_split": 3}), ["n_split", "n_splits"]),
        (kfold(parameters={"n_splits": 11}), ["11", "10 rows"]),
        (kfold(parameters={"n_splits": "3"}), ["numbers"]),
        (kfold(parameters={"n_splits": [3]}), ["numbers"]),
        (kfold(parameters=[]), ["object"]),
        (kfold(splitter="GroupKFold"), ["groups"]),
        (kfold(splitter="GroupKFold", groups="c"), ["no column 'c'", "a, b, y"]),
        (kfold(groups="a"), ["knows no groups"]),
        (kfold(splitter=None), ["splitter"]),
        (kfold(fold=1), ["'fold'"]),
        ({}, ["splitter"]),
        ([], ["splitter"]),
        ("KFold", ["splitter"]),
        ({"folds": []}, ["1 to 1000"]),
        ({"folds": [[[0]]]}, ["number 0", "pair"]),
        ({"folds": [[[0, 1], [1]]]}, ["number 0", "Row 1"]),
        ({"folds": [[[0], [1]], [[0], [10]]]}, ["number 1", "out of range"]),
        ({"folds": [[[0], [-1]]]}, ["negative"]),
        ({"folds": [[[0.5], [1]]]}, ["row numbers"]),
        ({"folds": [[[True], [2**70]]]}, ["row numbers"]),
        ({"folds": [[[], [1]]]}, ["empty"]),
        ({"folds": [[[0], [1]]], "splitter": "KFold"}, ["either"]),
    ],
)
def test_what_cant_cut_folds_is_refused(api: Api, cv: object, words: list[str]) -> None:
    refused(api, "rawdata/", scored_body(cv=cv), "cv", *words)


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        (["acuracy"], ["did you mean accuracy"]),
        (["r2"], ["regression", "classification"]),
        (["accuracy", "accuracy"], ["twice"]),
        ("accuracy, accuracy", ["twice"]),
        ([1], ["list of names"]),
        ({"accuracy": 1}, ["list of names"]),
    ],
)
def test_metrics_that_cant_score_are_refused(api: Api, metrics: object, words: list[str]) -> None:
    refused(api, "rawdata/", scored_body(metrics=metrics), "metrics", *words)


def test_one_without_the_other_is_refused(api: Api) -> None:
    refused(api, "rawdata/", scored_body(metrics=None), "metrics", "without metrics")
    refused(api, "rawdata/", scored_body(metrics=[]), "metrics", "without metrics")
    refused(api, "rawdata/", scored_body(cv=None), "cv", "without cv")


def test_a_custom_module_has_no_columns_but_any_metric(api: Api) -> None:
    grouped = {"splitter": "GroupKFold", "parameters": {}, "groups": "a"}
    refused(api, "rawdata/", custom_body(cv=grouped, metrics=["r2"]), "cv", "no columns")
    accepted(api.send("rawdata/", custom_body(cv=kfold(), metrics="r2, accuracy")))


def test_a_split_that_leaves_too_few_rows_is_refused(api: Api) -> None:
    raw_data = post_scored(api)
    body = {"raw_data_id": raw_data, "held_out_test": 0.8}
    refused(api, "rawdata/split/", body, "held_out_test", "n_splits is 3", "2 rows")
    explicit = post_scored(api, name="explicit", cv={"folds": [[[0, 1], [7]]]})
    body = {"raw_data_id": explicit, "held_out_test": 0.5}
    refused(api, "rawdata/split/", body, "held_out_test", "Index 7", "5 rows")


def test_what_was_posted_is_what_a_runner_is_told(api: Api) -> None:
    def order(raw_data: int) -> PrepareOrder:
        job = PreparedData.objects.get(raw_data=raw_data).job
        start(str(job.pk))
        ((_, built),) = orders.build([job.pk])
        assert isinstance(built, PrepareOrder)
        return built

    raw_data = post_scored(api, metrics="accuracy, f1_macro")
    split(api, raw_data)
    told = order(raw_data)
    assert told.cv is not None
    assert (told.cv.splitter, told.cv.parameters, told.metrics) == (
        "KFold",
        {"n_splits": 3},
        ("accuracy", "f1_macro"),
    )
    explicit = post_scored(api, name="explicit", cv={"folds": [[[0, 1], [2]], [pack_indices(3), [4]]]})
    split(api, explicit)
    told = order(explicit)
    assert told.cv is not None
    names = [name for fold in told.cv.folds for name in (fold.train_is, fold.test_is)]
    assert [np.frombuffer(blobs.get(name), "<i8").tolist() for name in names] == [[0, 1], [2], [3], [4]]


@pytest.mark.parametrize(
    "said",
    [
        {"counts": {"n_train": 8, "n_test": 2, "n_folds": 0}},
        {"counts": {"n_train": 8, "n_test": 2, "n_folds": 1001}},
        {"counts": {"n_train": 8, "n_test": 2, "n_folds": len(CUT) + 1}},
    ],
)
def test_folds_that_were_not_cut_are_a_failure_that_everybody_sees(api: Api, said: dict[str, Any]) -> None:
    raw_data = post_scored(api)
    submission = submit(api, raw_data)
    cut(split(api, raw_data), **said)
    shown = accepted(api.ask(f"submission/{submission}/"), 200)
    assert shown["failure"]["kind"] == "data"
    assert not folds_of(submission)


def test_a_second_split_is_refused_once_submissions_have_folds(api: Api) -> None:
    raw_data = post_scored(api)
    split(api, raw_data, 0.3)
    cut(split(api, raw_data, 0.2))  # the latest counts
    submit(api, raw_data)
    refused(api, "rawdata/split/", {"raw_data_id": raw_data, "held_out_test": 0.4}, "raw_data_id", "is split")
    split(api, raw_data, 0.2)


def test_submissions_are_refused_where_nobody_cuts_folds(api: Api) -> None:
    raw_data = post_data(api)
    body = {"raw_data": raw_data, "files": {"classifier.py": pack(CODE)}}
    refused(api, "submission/", body, "raw_data", "has no cv")
    refused(api, "submission/", body | {"raw_data": "flwers"}, "raw_data", "did you mean flowers")
    refused(api, "submission/", body | {"raw_data": raw_data + 1}, "raw_data", "no raw data")


def test_missing_elements_are_refused(api: Api) -> None:
    body = {"raw_data": "flowers", "files": {"regressor.py": pack(CODE)}}
    ready_scored(api)
    refused(api, "submission/", body, "files", "Missing: classifier.py")


def test_clients_cant_take_ids_that_the_platform_gives(api: Api) -> None:
    raw_data = ready_scored(api)
    submission = submit(api, raw_data)
    fold, *_ = folds_of(submission)
    body = {"train_is": pack_indices(0), "test_is": pack_indices(1), "raw_data": raw_data}
    body |= {"files": {"classifier.py": pack(CODE)}, "force": "submission, submission_fold"}
    own = body | {"databoard_s_id": submission, "databoard_sf_id": 1}
    refused(api, "submissionfold/", own, "databoard_s_id", "gives itself")
    own = body | {"databoard_s_id": 1, "databoard_sf_id": fold.pk}
    refused(api, "submissionfold/", own, "databoard_sf_id", "gives itself")


def test_a_submission_that_is_cancelled_before_it_has_folds_gets_none_until_it_is_run_again(api: Api) -> None:
    raw_data = post_scored(api)
    submission = submit(api, raw_data)
    accepted(api.send(f"submission/{submission}/cancel/", {}), 200)
    cut(split(api, raw_data))
    assert not folds_of(submission)
    assert "cancelled" in accepted(api.ask(f"submission/{submission}/"), 200)["failure"]["message"]
    accepted(api.send(f"submission/{submission}/rerun/", {}), 200)
    assert len(folds_of(submission)) == len(CUT)


@pytest.mark.django_db(transaction=True)
def test_a_submission_posted_while_its_data_set_is_being_prepared_misses_nothing(api: Api) -> None:
    raw_data = post_scored(api)
    task = split(api, raw_data)
    start(task)
    rows = {"train_rows": blobs.put(b"a"), "test_rows": blobs.put(b"b")}
    counts = {"n_train": 8, "n_test": 2, "n_folds": len(CUT)}
    while_uncommitted(
        lambda: finish(task, counts=counts, blobs=rows | cut_blobs()),
        lambda: submit(api, raw_data, "meanwhile"),
    )
    assert SubmissionFold.objects.count() == len(CUT)
    while_uncommitted(lambda: submit(api, raw_data, "one"), lambda: submit(api, raw_data, "other"))
    assert SubmissionFold.objects.count() == 3 * len(CUT)


def test_data_sets_without_are_as_before(api: Api) -> None:
    shown = accepted(api.send("rawdata/", data_body()))
    assert (shown["cv"], shown["metrics"], shown["closed_at"]) == (None, [], None)
