"""Submissions and folds of `/api/v1/`: who sees what, limits, duplicates, logs, predictions."""

import base64
import io
import sys
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from datarun.contract.messages import LogChunk, Stopped
from runapp.models import RawData, Submission, SubmissionFold
from runapp.services import raw_data, results
from runapp.services.roles import Role
from tests.integration.helpers import (
    CODE,
    RUNNER,
    TRAIN,
    at_once,
    fail,
    finish,
    folds_of,
    organiser,
    post_data,
    post_scored,
    ready_scored,
    row_counts,
    score,
    split,
    start,
    unprepared,
)
from tests.integration.test_v1_datasets import hostile, uploaded, zipped
from tests.integration.v1 import V1, Answer, problem, user

pytestmark = pytest.mark.django_db

OTHER = b"class Classifier:\n    other = True\n"


@pytest.fixture
def flowers() -> RawData:
    """A data set of the organiser, ready, with three folds."""
    return RawData.objects.get(pk=ready_scored(organiser()))


@pytest.fixture
def ada() -> V1:
    return user("ada")


@pytest.fixture
def owner() -> V1:
    return user("organiser", Role.ORGANISER)


def send(api: V1, code: bytes = CODE, /, **body: Any) -> Answer:
    files = {"classifier.py": base64.b64encode(code).decode()}
    return api.send("datasets/flowers/submissions/", {"name": "first", "files": files} | body)


def sent(api: V1, code: bytes = CODE, /, **body: Any) -> int:
    answer = send(api, code, **body)
    assert answer.status_code == 201, answer.content
    assert answer.headers["Location"] == f"/api/v1/submissions/{answer.json()['id']}/"
    return int(answer.json()["id"])


def shown(api: V1, submission: int) -> dict[str, Any]:
    return dict(api.ask(f"submissions/{submission}/").json())


def scored(api: V1, *values: float) -> int:
    """A submission of which so many folds are scored."""
    submission = sent(api)
    for fold, value in zip(folds_of(submission), values, strict=False):
        score(fold, value)
    return submission


# --- submitting ----------------------------------------------------------------------------------------


def test_a_submission_has_the_folds_of_its_data_set(flowers: RawData, ada: V1) -> None:
    submission = sent(ada)
    told = shown(ada, submission)
    assert (told["name"], told["dataset"], told["user"], told["state"]) == (
        "first",
        "flowers",
        "ada",
        "waiting",
    )
    assert told["folds"] == {"done": 0, "failed": 0, "running": 0, "waiting": 3, "total": 3}
    assert told["waiting"]
    folds = ada.ask(f"submissions/{submission}/folds/").json()["results"]
    assert [fold["number"] for fold in folds] == [0, 1, 2]
    assert {fold["state"] for fold in folds} == {"waiting"}


def test_it_comes_as_a_form_a_zip_or_an_upload(
    flowers: RawData, ada: V1, settings: Settings, tmp_path: Any
) -> None:
    settings.DIR_DATA = tmp_path
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "uploads"
    route, zip_file = "/api/v1/datasets/flowers/submissions/", zipped({"mine/classifier.py": CODE})
    answers = [
        ada.post(route, {"name": "form", "file": SimpleUploadedFile("classifier.py", CODE)}),
        ada.post(route, {"name": "zip", "force": "true", "file": SimpleUploadedFile("x.zip", zip_file)}),
        ada.send("datasets/flowers/submissions/", {"force": True, "upload": uploaded(ada, zip_file)}),
    ]
    assert [answer.status_code for answer in answers] == [201, 201, 201], [a.content for a in answers]
    assert len({str(submission.files) for submission in Submission.objects.all()}) == 1


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (None, "Send files"),
        ({}, "at least one"),
        ({"x.py": "YQ=="}, "Missing: classifier.py"),
        ({"../classifier.py": "YQ=="}, "leave out folders"),
        ({"classifier.py": "!"}, "not base64"),
        ({"classifier.py": 1}, "not base64"),
        ({"classifier.py": base64.b64encode(b"def (").decode()}, "line 1"),
    ],
)
def test_bad_files_are_refused_by_name(flowers: RawData, ada: V1, files: object, words: str) -> None:
    before = row_counts()
    said = problem(send(ada, files=files), 400)
    assert words in said["detail"]
    assert row_counts() == before


def test_a_hostile_zip_is_refused(flowers: RawData, ada: V1) -> None:
    archive = SimpleUploadedFile("x.zip", hostile("../classifier.py"))
    problem(ada.post("/api/v1/datasets/flowers/submissions/", {"file": archive}), 400)


def test_a_data_set_that_is_closed_or_has_no_cv_takes_none(flowers: RawData, ada: V1) -> None:
    raw_data.close(flowers)
    assert "closed" in problem(send(ada), 400)["detail"]
    post_data(organiser(), name="plain")
    files = {"classifier.py": base64.b64encode(CODE).decode()}
    assert "no cv" in problem(ada.send("datasets/plain/submissions/", {"files": files}), 400)["detail"]


def test_the_same_code_again_points_to_the_first(flowers: RawData, ada: V1) -> None:
    first = sent(ada)
    said = problem(send(ada, name="again"), 409)
    assert (said["type"], said["submission"]) == ("/problems/duplicate", first)
    assert sent(ada, force=True) != first
    sent(ada, OTHER)
    sent(user("eve"))  # what others have submitted is nobody's business


def test_a_retried_request_makes_one_submission(flowers: RawData, ada: V1) -> None:
    answers = [
        ada.send(
            "datasets/flowers/submissions/",
            {"files": {"classifier.py": base64.b64encode(CODE).decode()}},
            HTTP_IDEMPOTENCY_KEY="k",
        )
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert len({answer.json()["id"] for answer in answers}) == Submission.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_retries_at_the_same_moment_make_one_submission(flowers: RawData, ada: V1) -> None:
    def post() -> Answer:
        return ada.send(
            "datasets/flowers/submissions/",
            {"files": {"classifier.py": base64.b64encode(CODE).decode()}},
            HTTP_IDEMPOTENCY_KEY="k",
        )

    answers = at_once(post, post, post)
    assert [answer.status_code for answer in answers] == [201, 201, 201], [a.content for a in answers]
    assert Submission.objects.count() == 1


# --- limits --------------------------------------------------------------------------------------------


def limited(data_set: RawData, **limits: int) -> None:
    RawData.objects.filter(pk=data_set.pk).update(limits=limits)


def test_over_the_limit_it_says_when_it_is_possible_again(flowers: RawData, ada: V1) -> None:
    limited(flowers, submissions_per_day=2)
    first = sent(ada, b"first = 1")
    Submission.objects.filter(pk=first).update(created_at=timezone.now() - timedelta(hours=23))
    sent(ada, b"second = 2")
    answer = send(ada, b"third = 3")
    said = problem(answer, 429)
    assert said["type"] == "/problems/limit"
    assert int(answer.headers["Retry-After"]) == pytest.approx(3600, abs=60)
    assert said["possible_at"]
    sent(user("eve"))  # each user has their own
    Submission.objects.filter(pk=first).update(created_at=timezone.now() - timedelta(hours=25))
    sent(ada, b"third = 3")


@pytest.mark.parametrize(("kind", "counts"), [("lost", False), ("data", False), ("user_error", True)])
def test_what_failed_through_no_fault_of_the_user_does_not_count(
    flowers: RawData, ada: V1, kind: str, counts: bool
) -> None:
    limited(flowers, submissions_per_day=1)
    fold = folds_of(sent(ada))[0]
    for _ in range(3):  # lost ones are tried again
        if not SubmissionFold.objects.filter(pk=fold.pk, job__state="failed").exists():
            fail(str(fold.job_id), kind, "boom")
    assert send(ada, OTHER).status_code == (429 if counts else 201)


def test_the_organiser_of_the_data_set_has_no_limit(flowers: RawData, owner: V1) -> None:
    limited(flowers, submissions_per_day=0)
    sent(owner)
    problem(send(user("ada")), 429)


def test_size_and_waiting_folds_are_limited(flowers: RawData, ada: V1) -> None:
    limited(flowers, bytes=len(CODE) - 1)
    problem(send(ada), 400)
    limited(flowers, folds=3)
    submission = sent(ada)
    problem(send(ada, OTHER), 429)
    ada.send(f"submissions/{submission}/cancel/")
    sent(ada, OTHER)


def test_one_submits_so_often_a_minute(flowers: RawData, ada: V1, settings: Settings) -> None:
    settings.SUBMITS_A_MINUTE = 1
    sent(ada)
    answer = send(ada, OTHER)
    problem(answer, 429)
    assert int(answer.headers["Retry-After"]) > 0
    assert ada.ask("datasets/flowers/submissions/").status_code == 200  # looking is free


# --- how it goes ---------------------------------------------------------------------------------------


def test_states_follow_the_folds(flowers: RawData, ada: V1) -> None:
    submission = sent(ada)
    one, two, three = folds_of(submission)
    start(str(one.job_id))
    assert shown(ada, submission)["state"] == "running"
    fail(str(two.job_id), "user_error", "Traceback: two")
    score(three)
    assert shown(ada, submission)["folds"] == {"done": 1, "failed": 1, "running": 1, "waiting": 0, "total": 3}
    ada.send(f"folds/{one.pk}/cancel/")
    results.record([Stopped(str(one.job_id), 1, RUNNER)])
    assert shown(ada, submission)["state"] == "partial"
    folds = {fold["id"]: fold for fold in ada.ask(f"submissions/{submission}/folds/").json()["results"]}
    assert [folds[each.pk]["state"] for each in (one, two, three)] == ["cancelled", "failed", "done"]
    assert (folds[two.pk]["failure"], folds[two.pk]["message"]) == ("user_error", "Traceback: two")
    assert folds[three.pk]["runner"] == RUNNER
    assert ada.send(f"submissions/{submission}/rerun/", {"failed_only": True}).json() == {"jobs": 2}


def test_one_that_waits_for_data_that_fail_says_so(ada: V1) -> None:
    data_set = post_scored(organiser())
    submission = sent(ada)
    assert shown(ada, submission)["state"] == "waiting"
    unprepared(split(organiser(), data_set), "ValueError: torn")
    told = shown(ada, submission)
    assert (told["state"], told["failure"]["kind"]) == ("failed", "data")
    assert "torn" in told["failure"]["message"]


def test_lists_are_filtered(flowers: RawData, ada: V1) -> None:
    waiting, done = sent(ada, OTHER, name="second"), scored(ada, 0.5, 0.5, 0.5)

    def ids(**query: str) -> list[int]:
        answer = ada.ask("submissions/", **query)
        assert answer.status_code == 200, answer.content
        return [each["id"] for each in answer.json()["results"]]

    assert ids() == [done, waiting]
    assert ids(name="SEC") == [waiting]
    assert ids(state="waiting") == [waiting]
    assert ids(state="scored") == [done]
    assert ids(state="failed") == ids(state="partial") == ids(state="running") == ids(state="cancelled") == []
    assert ids(dataset="flowers") == ids(dataset=str(flowers.pk)) == [done, waiting]
    assert ids(dataset="roses") == ids(user="eve") == []
    problem(ada.ask("submissions/", state="lost"), 400)


def test_polling_what_has_not_changed_costs_few_queries(flowers: RawData, ada: V1) -> None:
    submission = scored(ada, 0.5, 0.6)
    start(str(folds_of(submission)[2].job_id))
    place = f"/api/v1/submissions/{submission}/"
    etag = ada.get(place).headers["ETag"]
    with CaptureQueriesContext(connection) as captured:
        again = ada.get(place, HTTP_IF_NONE_MATCH=etag)
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)
    assert len(captured) <= 9  # who asks, roles, the row, and versions of rows
    finish(str(folds_of(submission)[2].job_id), arrays={"train": TRAIN}, scores={"valid": {"accuracy": 1.0}})
    assert ada.get(place, HTTP_IF_NONE_MATCH=etag).status_code == 200


# --- who sees what -------------------------------------------------------------------------------------


def test_test_scores_are_the_organisers_until_it_is_closed(flowers: RawData, ada: V1, owner: V1) -> None:
    submission = scored(ada, 0.8, 0.8, 0.8)
    fold = folds_of(submission)[0].pk
    assert set(shown(ada, submission)["scores"]) == {"train", "valid"}
    assert shown(ada, submission)["scores"]["valid"]["accuracy"]["mean"] == pytest.approx(0.8)
    assert set(ada.ask(f"folds/{fold}/").json()["scores"]) == {"train", "valid"}
    problem(ada.ask(f"folds/{fold}/predictions/test"), 403)
    assert set(shown(owner, submission)["scores"]) == {"train", "valid", "test"}
    assert owner.ask(f"folds/{fold}/predictions/test").status_code == 200
    raw_data.close(flowers)
    assert set(shown(ada, submission)["scores"]) == {"train", "valid", "test"}
    assert ada.ask(f"folds/{fold}/predictions/test").status_code == 200


def test_the_leaderboard_tells_others_no_code(flowers: RawData, ada: V1, owner: V1) -> None:
    best = scored(ada, 0.9, 0.9, 0.9)
    failed = folds_of(sent(ada, OTHER, name="broken"))[0]
    fail(str(failed.job_id), "user_error", "File classifier.py: secret_trick()")
    eve = user("eve")
    rows = eve.ask("datasets/flowers/leaderboard/").json()["results"]
    assert [(row["rank"], row["name"], row["user"]) for row in rows] == [
        (1, "first", "ada"),
        (None, "broken", "ada"),
    ]
    assert rows[0]["id"] == best
    assert rows[0]["scores"]["valid"]["accuracy"]["mean"] == pytest.approx(0.9)
    assert "test" not in rows[0]["scores"]
    text = eve.ask("datasets/flowers/leaderboard/", format="csv").content.decode()
    assert "secret_trick" not in str(rows) + text
    assert "secret_trick" in owner.ask("datasets/flowers/leaderboard/").content.decode()
    problem(eve.ask(f"submissions/{best}/"), 404)


def test_the_leaderboard_comes_in_pages(flowers: RawData, ada: V1) -> None:
    for number in range(5):
        sent(ada, b"number = %d" % number, name=str(number))
    page = ada.ask("datasets/flowers/leaderboard/", limit=2).json()
    assert page["previous"] is None
    names = [row["name"] for row in page["results"]]
    while page["next"]:
        page = ada.get(page["next"]).json()
        names += [row["name"] for row in page["results"]]
    assert sorted(names) == list("01234")
    assert page["blended"] == {}
    etag = ada.ask("datasets/flowers/leaderboard/").headers["ETag"]
    assert ada.get("/api/v1/datasets/flowers/leaderboard/", HTTP_IF_NONE_MATCH=etag).status_code == 304
    problem(ada.ask("datasets/flowers/leaderboard/", cursor="x"), 400)


def test_files_are_the_submitters_and_the_organisers(flowers: RawData, ada: V1, owner: V1) -> None:
    submission = sent(ada)
    listed = ada.ask(f"submissions/{submission}/files/").json()["results"]
    assert [(file["name"], file["size"]) for file in listed] == [("classifier.py", len(CODE))]
    for api in (ada, owner):
        assert api.ask(f"submissions/{submission}/files/classifier.py").content == CODE
    problem(ada.ask(f"submissions/{submission}/files/other.py"), 404)
    problem(user("eve").ask(f"submissions/{submission}/files/classifier.py"), 404)


def test_one_deletes_ones_own_unless_it_is_counted(flowers: RawData, ada: V1, owner: V1) -> None:
    first, second = sent(ada), sent(ada, OTHER)
    assert ada.delete(f"/api/v1/submissions/{first}/").status_code == 204
    limited(flowers, submissions_per_day=5)
    problem(ada.delete(f"/api/v1/submissions/{second}/"), 409)
    assert owner.delete(f"/api/v1/submissions/{second}/").status_code == 204


# --- logs and predictions ------------------------------------------------------------------------------


def test_a_log_is_read_while_it_grows(flowers: RawData, ada: V1) -> None:
    fold = folds_of(sent(ada))[0]
    start(str(fold.job_id))
    place = f"folds/{fold.pk}/log/"
    assert ada.ask(place).json() == {"text": "", "next": 0, "done": False}
    results.note([LogChunk(str(fold.job_id), 1, RUNNER, 0, "grüße\n")])
    first = ada.ask(place).json()
    assert first == {"text": "grüße\n", "next": 8, "done": False}
    etag = ada.ask(place, offset=8).headers["ETag"]
    assert ada.get(f"/api/v1/{place}?offset=8", HTTP_IF_NONE_MATCH=etag).status_code == 304
    results.note([LogChunk(str(fold.job_id), 1, RUNNER, 8, "more\n")])
    assert ada.ask(place, offset=8).json() == {"text": "more\n", "next": 13, "done": False}
    for wrong in ("x", "-1", "1.5"):
        problem(ada.ask(place, offset=wrong), 400)


def test_predictions_in_every_format(flowers: RawData, ada: V1) -> None:
    fold = folds_of(sent(ada))[0]
    score(fold, arrays={"train": TRAIN, "test": TRAIN[:2]})
    place = f"folds/{fold.pk}/predictions/train"
    npy = ada.ask(place)
    assert npy.headers["Content-Type"] == "application/x-npy"
    assert np.array_equal(np.load(io.BytesIO(npy.content)), TRAIN)
    text = ada.ask(place, format="csv").content.decode()
    assert text.startswith("0,1\n")
    assert np.array_equal(np.loadtxt(io.StringIO(text), delimiter=",", skiprows=1), TRAIN)
    arrow = ada.get(f"/api/v1/{place}", HTTP_ACCEPT="application/vnd.apache.arrow.stream")
    table = pyarrow.ipc.open_stream(arrow.content).read_all()
    assert np.array_equal(np.column_stack([column.to_numpy() for column in table.columns]), TRAIN)
    problem(ada.get(f"/api/v1/{place}", HTTP_ACCEPT="image/png"), 406)
    problem(ada.ask(place, format="xlsx"), 400)
    problem(ada.ask(f"folds/{fold.pk}/predictions/valid"), 404)
    problem(ada.ask(f"folds/{folds_of(fold.databoard_s_id)[1].pk}/predictions/train"), 404)


def test_arrow_needs_pyarrow_and_says_so(flowers: RawData, ada: V1, monkeypatch: pytest.MonkeyPatch) -> None:
    fold = folds_of(sent(ada))[0]
    score(fold)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    said = problem(ada.ask(f"folds/{fold.pk}/predictions/train", format="arrow"), 406)
    assert "pyarrow" in said["detail"]


# --- what operators see --------------------------------------------------------------------------------


def test_operators_see_jobs_but_no_text_of_a_submission(flowers: RawData, ada: V1) -> None:
    fold = folds_of(sent(ada))[0]
    fail(str(fold.job_id), "user_error", "File classifier.py: secret_trick()", log="secret_log")
    operator = user("olga", Role.OPERATOR)
    listed = operator.ask("jobs/", state="failed", queue="L", kind="fold")
    assert [(job["id"], job["failure"], job["user"]) for job in listed.json()["results"]] == [
        (str(fold.job_id), "user_error", "ada")
    ]
    one = operator.ask(f"jobs/{fold.job_id}/")
    assert one.json()["fold"] == fold.pk
    assert "secret" not in (listed.content + one.content).decode()
    waits = operator.ask(f"jobs/{folds_of(fold.databoard_s_id)[1].job_id}/").json()
    assert waits["waiting"]
    problem(operator.ask("jobs/", state="lost"), 400)
    assert operator.ask("runners/").json()["results"] == []
