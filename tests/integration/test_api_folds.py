"""Posting folds: with a new submission, as one more of a submission that exists, and in place of another."""

import uuid
from pathlib import Path

import pytest
from pytest_django import Settings

from datarun.contract import queues
from datarun.contract.states import JobKind, JobState
from runapp.models import Job, Prediction, RawData, Submission, SubmissionFold
from runapp.services import blobs
from tests.integration.helpers import (
    CODE,
    TEST,
    TRAIN,
    Api,
    accepted,
    finish,
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
    queued_up,
    ready_data,
    refused,
    row_counts,
    split,
    start,
    stored_files,
    succeeded,
)

pytestmark = pytest.mark.django_db

ROUTE = "submissionfold/"
OTHER_CODE = b"class Classifier:\n    better = True\n"
FORCE_FOLD = "submission_fold"
FORCE_BOTH = "submission, submission_fold"


@pytest.fixture
def api() -> Api:
    return organiser()


@pytest.fixture
def raw_data(api: Api) -> int:
    return ready_data(api)


def fold_ids() -> list[int]:
    return list(SubmissionFold.objects.order_by("pk").values_list("pk", flat=True))


def state_of(task_id: str) -> str:
    return Job.objects.get(pk=task_id).state


def code_of(submission: int) -> dict[str, bytes]:
    return {name: blobs.get(sha256) for name, sha256 in Submission.objects.get(pk=submission).files.items()}


# --- new ones ------------------------------------------------------------------------------------------


def test_a_fold_with_a_new_submission_is_answered_in_full(api: Api, raw_data: int) -> None:
    answer = accepted(api.send(ROUTE, fold_body(raw_data, 7, 3)))
    assert answer == {
        "databoard_sf_id": 7,
        "databoard_s": 3,
        "test_predictions": None,
        "full_train_predictions": None,
        "state": "TODO",
        "log_messages": "",
        "train_time": 0.0,
        "validation_time": 0.0,
        "test_time": 0.0,
        "train_cpu_time": 0.0,
        "test_cpu_time": 0.0,
        "train_memory": 0.0,
        "test_memory": 0.0,
        "new": True,
        "priority": "L",
        "task_id": answer["task_id"],
        "train_is": answer["train_is"],
        "test_is": answer["test_is"],
    }
    assert accepted(api.ask("submissionfold/7/"), 200).items() >= answer.items()
    job = Job.objects.get(pk=uuid.UUID(answer["task_id"]))
    assert (job.kind, job.queue, job.state) == (JobKind.FOLD, queues.LIGHT, JobState.CREATED)
    assert code_of(3) == {"classifier.py": CODE}


def test_one_more_fold_needs_only_its_own_fields(api: Api, raw_data: int) -> None:
    post_fold(api, raw_data, 1, 5)
    body = further_fold_body(2, 5)
    assert set(body) == {"databoard_sf_id", "databoard_s_id", "train_is", "test_is"}
    assert accepted(api.send(ROUTE, body))["databoard_s"] == 5
    assert Submission.objects.count() == 1


def test_null_is_as_good_as_leaving_out(api: Api, raw_data: int) -> None:
    post_fold(api, raw_data, force=None)
    accepted(api.send(ROUTE, further_fold_body(2, raw_data=None, files=None, force=None)))


def test_what_came_with_the_first_fold_may_come_again(api: Api, raw_data: int) -> None:
    post_fold(api, raw_data, 1)
    accepted(api.send(ROUTE, fold_body(raw_data, 2)))
    accepted(api.send(ROUTE, fold_body(raw_data, 3, raw_data=None)))
    accepted(api.send(ROUTE, fold_body(raw_data, 4, files=None)))
    assert fold_ids() == [1, 2, 3, 4]


@pytest.mark.parametrize("priority", ["L", "H"])
def test_the_priority_picks_the_queue(api: Api, raw_data: int, priority: str) -> None:
    answer = accepted(api.send(ROUTE, fold_body(raw_data, priority=priority)))
    assert answer["priority"] == priority
    assert Job.objects.get(pk=answer["task_id"]).queue == priority


@pytest.mark.parametrize(
    "priority", ["l", "X", "", "LH", "celery", None, 1, True, ["L"], {"L": "L"}, "\ud800"]
)
def test_an_unknown_priority_is_refused(api: Api, raw_data: int, priority: object) -> None:
    refused(api, ROUTE, fold_body(raw_data, priority=priority), "priority")


@pytest.mark.parametrize("field", ["databoard_sf_id", "databoard_s_id", "train_is", "test_is"])
def test_a_missing_field_is_named(api: Api, raw_data: int, field: str) -> None:
    body = fold_body(raw_data)
    del body[field]
    refused(api, ROUTE, body, field, "required")


@pytest.mark.parametrize("field", ["databoard_sf_id", "databoard_s_id", "raw_data"])
@pytest.mark.parametrize(
    "id", [-1, 2**63, 10**30, True, False, 1.5, 1e300, "", "one", "-1", "1" * 1001, [], [1], {}, "\ud800"]
)
def test_ids_are_whole_numbers_that_fit(api: Api, raw_data: int, field: str, id: object) -> None:
    refused(api, ROUTE, fold_body(raw_data) | {field: id}, field)


@pytest.mark.parametrize("field", ["databoard_sf_id", "databoard_s_id"])
def test_ids_are_not_null(api: Api, raw_data: int, field: str) -> None:
    refused(api, ROUTE, fold_body(raw_data) | {field: None}, field, "null")


@pytest.mark.parametrize("id", [0, 2**63 - 1])
def test_the_smallest_and_the_largest_id_are_accepted(api: Api, raw_data: int, id: int) -> None:
    post_fold(api, raw_data, id, id)
    answer = accepted(api.ask(f"submissionfold/{id}/"), 200)
    assert (answer["databoard_sf_id"], answer["databoard_s"]) == (id, id)


@pytest.mark.parametrize("id", ["17", 17.0])
def test_an_id_may_be_spelled_as_text_or_as_a_whole_float(api: Api, raw_data: int, id: object) -> None:
    post_fold(api, raw_data, id)  # type: ignore[arg-type]
    assert fold_ids() == [17]


def test_unknown_raw_data_is_named(api: Api, raw_data: int) -> None:
    for id in (raw_data + 1, 2**63 - 1):
        refused(api, ROUTE, fold_body(id), "raw_data", str(id))


@pytest.mark.parametrize("field", ["raw_data", "files"])
def test_a_new_submission_needs_its_data_and_files(api: Api, raw_data: int, field: str) -> None:
    body = fold_body(raw_data)
    del body[field]
    refused(api, ROUTE, body, field, "Submission 1 is new")


def test_an_unknown_fold_is_not_found(api: Api) -> None:
    for id in ("1", str(2**63), "1" * 5000):
        assert api.ask(f"submissionfold/{id}/").status_code == 404


# --- files ---------------------------------------------------------------------------------------------


def test_missing_element_files_are_named(api: Api) -> None:
    raw_data = ready_data(api, workflow_elements="feature_extractor, classifier, calibrator")
    files = {"classifier.py": pack(CODE), "calibrator.txt": pack(CODE), "Feature_extractor.py": pack(CODE)}
    said = refused(
        api, ROUTE, fold_body(raw_data, files=files), "files", "feature_extractor.py", "calibrator.py"
    )
    assert "classifier.py" not in said["files"][0]


def test_a_custom_modules_elements_are_needed_too(api: Api) -> None:
    raw_data = post_custom_data(api, workflow_elements="segmenter")
    refused(api, ROUTE, fold_body(raw_data), "files", "segmenter.py")
    post_fold(api, raw_data, files={"segmenter.py": pack(b"x = 1")})


def test_further_files_are_accepted_and_kept(api: Api, raw_data: int) -> None:
    files = {"classifier.py": CODE, "helper.py": b"x = 1\n", "weights.bin": b"\0\1\2", "README": b""}
    post_fold(api, raw_data, files={name: pack(content) for name, content in files.items()})
    assert code_of(1) == files


# --- what exists already -------------------------------------------------------------------------------


def test_an_id_that_exists_needs_force(api: Api, raw_data: int) -> None:
    post_fold(api, raw_data, 1, 1)
    for body in (fold_body(raw_data, 1, 1), fold_body(raw_data, 1, 2), further_fold_body(1, 1)):
        refused(api, ROUTE, body, "databoard_sf_id", "already exists", "1", "force")
    assert Submission.objects.count() == 1


def test_an_existing_submission_is_not_changed_in_passing(api: Api, raw_data: int) -> None:
    other = ready_data(api, name="other")
    post_fold(api, raw_data)
    for files in (
        {"classifier.py": pack(OTHER_CODE)},
        {"classifier.py": pack(CODE), "more.py": pack(CODE)},
        {"Classifier.py": pack(CODE)},
    ):
        for force in ("", FORCE_FOLD):
            body = fold_body(raw_data, 2, files=files, force=force)
            refused(api, ROUTE, body, "files", "Submission 1", FORCE_BOTH)
    refused(api, ROUTE, fold_body(other, 2), "raw_data", "Submission 1", FORCE_BOTH)
    assert code_of(1) == {"classifier.py": CODE}


def test_files_are_looked_at_even_when_they_are_not_needed(api: Api, raw_data: int) -> None:
    post_fold(api, raw_data)
    bad: list[object] = [{}, [], {"../classifier.py": pack(CODE)}, {"classifier.py": "not base64!"}]
    for files in bad:
        refused(api, ROUTE, fold_body(raw_data, 2, files=files), "files")


@pytest.mark.parametrize(
    "force", ["submission", "fold", "submission_fold submission", "true", "submission;submission_fold", "*"]
)
def test_an_unknown_force_is_told_the_two_there_are(api: Api, raw_data: int, force: str) -> None:
    refused(api, ROUTE, fold_body(raw_data, force=force), "force", FORCE_FOLD, FORCE_BOTH)


@pytest.mark.parametrize("force", [True, 1, ["submission_fold"], {"submission_fold": True}, "\ud800", "\0"])
def test_force_is_text(api: Api, raw_data: int, force: object) -> None:
    refused(api, ROUTE, fold_body(raw_data, force=force), "force")


@pytest.mark.parametrize(
    "force",
    [
        "",
        FORCE_FOLD,
        FORCE_BOTH,
        "submission,submission_fold",
        "submission_fold,submission",
        " submission_fold ,",
    ],
)
def test_force_on_what_does_not_exist_creates(api: Api, raw_data: int, force: str) -> None:
    post_fold(api, raw_data, force=force)
    assert fold_ids() == [1]


@pytest.mark.parametrize("force", [FORCE_FOLD, FORCE_BOTH])
def test_force_alone_makes_no_submission(api: Api, raw_data: int, force: str) -> None:
    refused(api, ROUTE, further_fold_body(1, force=force), "raw_data", "Submission 1 is new")


def test_a_replaced_fold_starts_anew(api: Api, raw_data: int) -> None:
    first = post_fold(api, raw_data)
    succeeded(first, measures={"train_time": 3.0})
    api.send("testpredictions/new/", {})
    body = further_fold_body(1, force=FORCE_FOLD, priority="H", test_is=pack_indices(5))
    answer = accepted(api.send(ROUTE, body))
    assert answer["task_id"] != first
    assert (answer["state"], answer["new"], answer["priority"]) == ("TODO", True, "H")
    assert (answer["test_predictions"], answer["train_time"]) == (None, 0.0)
    assert answer["test_is"] == api.ask("submissionfold/1/").json()["test_is"]
    assert state_of(first) == JobState.SUCCEEDED  # history stays
    succeeded(answer["task_id"], TRAIN + 1, TEST + 1)
    assert Prediction.objects.get().fold_id == 1


def test_a_replaced_fold_leaves_its_siblings_alone(api: Api, raw_data: int) -> None:
    post_fold(api, raw_data, 1)
    sibling = accepted(api.send(ROUTE, further_fold_body(2)))
    accepted(api.send(ROUTE, further_fold_body(1, force=FORCE_FOLD)))
    assert api.ask("submissionfold/2/").json().items() >= sibling.items()


def test_a_fold_may_move_to_another_submission(api: Api, raw_data: int) -> None:
    post_fold(api, raw_data, 1, 1)
    post_fold(api, raw_data, 1, 2, force=FORCE_FOLD)
    assert list(SubmissionFold.objects.values_list("pk", "databoard_s_id")) == [(1, 2)]
    assert set(Submission.objects.values_list("pk", flat=True)) == {1, 2}


def test_a_replaced_submission_takes_its_folds_with_it(api: Api, raw_data: int) -> None:
    waiting, running, done, kept = (
        post_fold(api, raw_data, 1, 1),
        accepted(api.send(ROUTE, further_fold_body(2, 1)))["task_id"],
        accepted(api.send(ROUTE, further_fold_body(3, 1)))["task_id"],
        post_fold(api, raw_data, 4, 2),
    )
    start(running)
    succeeded(done)
    post_fold(api, raw_data, 9, 1, force=FORCE_BOTH, files={"classifier.py": pack(OTHER_CODE)})
    assert fold_ids() == [4, 9]
    assert code_of(1) == {"classifier.py": OTHER_CODE}
    assert (state_of(waiting), state_of(kept)) == (JobState.CANCELLED, JobState.CREATED)
    assert state_of(done) == JobState.SUCCEEDED  # history stays


def test_what_a_runner_still_sends_for_a_replaced_fold_counts_for_nothing(api: Api, raw_data: int) -> None:
    task_id = post_fold(api, raw_data)
    start(task_id)
    accepted(api.send(ROUTE, further_fold_body(1, force=FORCE_FOLD)))
    finish(task_id, arrays={"train": TRAIN, "test": TEST}, measures={"train_time": 3.0})
    answer = api.ask("submissionfold/1/").json()
    assert (answer["state"], answer["test_predictions"], answer["train_time"]) == ("TODO", None, 0.0)
    assert not Prediction.objects.exists()


def test_a_replaced_submission_may_change_its_data_set(api: Api, raw_data: int) -> None:
    other = ready_data(api, name="other")
    post_fold(api, raw_data)
    post_fold(api, other, force=FORCE_BOTH)
    assert Submission.objects.get().raw_data_id == other


@pytest.mark.parametrize("field", ["raw_data", "files"])
def test_replacing_a_submission_needs_its_data_and_files(api: Api, raw_data: int, field: str) -> None:
    post_fold(api, raw_data)
    body = fold_body(raw_data, force=FORCE_BOTH)
    del body[field]
    refused(api, ROUTE, body, field, "to be replaced")


@pytest.mark.parametrize(
    "changed",
    [
        {"files": {"regressor.py": pack(CODE)}},
        {"files": {"classifier.py": pack(b"class")}},
        {"files": {"classifier.py": "!"}},
        {"raw_data": 2**40},
        {"test_is": pack_indices(0)},
        {"test_is": pack_indices(8)},
        {"priority": "X"},
    ],
)
@pytest.mark.parametrize("force", [FORCE_FOLD, FORCE_BOTH])
def test_a_refused_replacement_destroys_nothing(
    api: Api, raw_data: int, changed: dict[str, object], force: str
) -> None:
    task_id = post_fold(api, raw_data)
    before = row_counts(), api.ask("submissionfold/1/").json(), code_of(1)
    assert api.send(ROUTE, fold_body(raw_data, force=force) | changed).status_code == 400
    assert (row_counts(), api.ask("submissionfold/1/").json(), code_of(1)) == before
    assert state_of(task_id) == JobState.CREATED


def test_a_refused_fold_leaves_no_file_of_its_submission(
    api: Api, raw_data: int, settings: Settings, tmp_path: Path
) -> None:
    own_storage(settings, tmp_path)
    files = {"classifier.py": pack(CODE), "weights.bin": pack(bytes(range(256)) * 1024)}
    post_fold(api, raw_data)
    for body in (fold_body(raw_data, 1, 2), fold_body(raw_data, 2, 2, test_is=pack_indices(8))):
        assert api.send(ROUTE, body | {"files": files}).status_code == 400
    assert stored_files(tmp_path) == set()


# --- at once -------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_one_of_several_at_once_gets_the_id() -> None:
    api = organiser()
    raw_data = ready_data(api)
    answers = queued_up(
        lambda: post_fold(api, raw_data),  # nobody sees it, and who posts to its data set waits
        *(lambda n=n: api.send(ROUTE, fold_body(raw_data, 1, n)) for n in range(3)),
    )
    assert sorted(answer.status_code for answer in answers) == [201, 400, 400]
    for answer in answers:
        assert answer.status_code == 201 or list(answer.json()) == ["databoard_sf_id"]
    assert (Submission.objects.count(), SubmissionFold.objects.count()) == (1, 1)
    assert Job.objects.filter(kind=JobKind.FOLD).count() == 1


@pytest.mark.django_db(transaction=True)
def test_folds_of_a_new_submission_may_be_posted_at_once() -> None:
    api = organiser()
    raw_data = ready_data(api)
    answers = queued_up(
        lambda: RawData.objects.select_for_update().get(pk=raw_data),
        *(lambda fold=fold: api.send(ROUTE, fold_body(raw_data, fold)) for fold in (1, 2)),
    )
    assert [answer.status_code for answer in answers] == [201, 201]
    assert fold_ids() == [1, 2]


@pytest.mark.django_db(transaction=True)
def test_a_fold_replaced_twice_at_once_leaves_no_job_behind() -> None:
    api = organiser()
    succeeded(post_fold(api, ready_data(api)))
    body = further_fold_body(1, force=FORCE_FOLD)
    answers = queued_up(
        lambda: list(
            Prediction.objects.select_for_update()
        ),  # both have found the fold and wait to delete it
        *[lambda: api.send(ROUTE, body)] * 2,
    )
    assert [answer.status_code for answer in answers] == [201, 201]
    without_fold = Job.objects.filter(kind=JobKind.FOLD, state=JobState.CREATED, submissionfold=None)
    assert list(without_fold) == []


@pytest.mark.django_db(transaction=True)
def test_a_fold_may_be_replaced_while_its_outcome_is_recorded() -> None:
    api = organiser()
    task_id = post_fold(api, ready_data(api))
    start(task_id)
    body = further_fold_body(1, force=FORCE_FOLD)
    replaced, _ = queued_up(
        lambda: SubmissionFold.objects.select_for_update().get(pk=1),  # they come to it from both sides
        lambda: api.send(ROUTE, body),
        lambda: finish(task_id, arrays={"train": TRAIN, "test": TEST}),
    )
    assert accepted(replaced)["state"] == "TODO"
    assert not Prediction.objects.exists()
    assert state_of(task_id) in {JobState.SUCCEEDED, JobState.CANCELLED}


@pytest.mark.django_db(transaction=True)
def test_a_waiting_fold_may_be_replaced_as_its_preparation_ends() -> None:
    api = organiser()
    raw_data = post_data(api)
    task_id = split(api, raw_data)
    post_fold(api, raw_data)
    body = further_fold_body(1, force=FORCE_FOLD)
    _, replaced = queued_up(
        lambda: RawData.objects.select_for_update().get(pk=raw_data),
        lambda: prepared(task_id),
        lambda: api.send(ROUTE, body),
    )
    assert accepted(replaced)["state"] == "TODO"
    assert not SubmissionFold.objects.get().job.waits_for_data
