"""Kits are posted as zip files, whose names, sizes and contents are believed no more than any other input."""

import base64
import io
import zipfile
import zlib
from typing import Any

import pytest
from pytest_django import Settings

from runapp.models import Job, PreparedData, RawData
from runapp.services import orders
from tests.integration.helpers import (
    CODE,
    Api,
    accepted,
    cut_blobs,
    finish,
    folds_of,
    organiser,
    pack,
    refused,
    score,
    start,
    submit,
)

pytestmark = pytest.mark.django_db

PROBLEM = b"problem_title = 'Iris'\n"
KIT = {
    "problem.py": PROBLEM,
    "data/train.csv": b"a,y\n1,1\n",
    "external_imports/utils/help.py": b"x = 1\n",
    "submissions/starting_kit/classifier.py": CODE,
    "submissions/other/classifier.py": CODE + b"\n",
}
FACTS = {
    "title": "Iris",
    "elements": ["classifier"],
    "metrics": [{"name": "err", "lower_is_better": True}, {"name": "acc", "lower_is_better": False}],
}


@pytest.fixture
def api() -> Api:
    return organiser()


def zipped(files: dict[str, bytes], **changed: Any) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", **changed) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def body(files: dict[str, bytes] | bytes, **changed: object) -> dict[str, object]:
    return {"name": "kit", "zip": pack(files if isinstance(files, bytes) else zipped(files))} | changed


def prepare(raw_data: int, **facts: Any) -> Job:
    """A runner prepares the kit."""
    job = PreparedData.objects.get(raw_data=raw_data).job
    start(str(job.pk))
    counts = {"n_train": 8, "n_test": 2, "n_folds": 3}
    finish(str(job.pk), counts=counts, blobs=cut_blobs(), facts=FACTS | facts)
    return Job.objects.get(pk=job.pk)


def test_a_kit_is_a_data_set_that_is_prepared_at_once(api: Api) -> None:
    created = accepted(api.send("kit/", body(KIT)))
    assert created["files"] == ["data/train.csv", "external_imports/utils/help.py", "problem.py"]
    assert created["submissions"] == []
    job = PreparedData.objects.get().job
    start(str(job.pk))
    ((_, order),) = orders.build([job.pk])
    assert (order.data.kit, order.data.module, order.cv) == (True, "problem.py", None)
    assert set(order.data.files) == set(created["files"])


@pytest.mark.parametrize("folder", ["", "iris-kit/"])
def test_its_submissions_come_with_it_if_asked_for(api: Api, folder: str) -> None:
    files = {f"{folder}{path}": content for path, content in KIT.items()}
    created = accepted(api.send("kit/", body(files, submissions=True)))
    assert len(created["submissions"]) == 2
    prepare(created["id"])
    assert [len(folds_of(submission)) for submission in created["submissions"]] == [3, 3]
    shown = [accepted(api.ask(f"submission/{id}/"), 200)["name"] for id in created["submissions"]]
    assert shown == ["other", "starting_kit"]


def test_what_it_says_of_itself_is_known_once_it_is_prepared(api: Api) -> None:
    raw_data = accepted(api.send("kit/", body(KIT)))["id"]
    prepare(raw_data)
    (shown,) = accepted_list(api)
    assert (shown["workflow_elements"], shown["metrics"]) == ("classifier", ["err", "acc"])
    refused(
        api, "submission/", {"raw_data": raw_data, "files": {"x.py": pack(CODE)}}, "files", "classifier.py"
    )
    worse, better = submit(api, raw_data, "worse"), submit(api, raw_data, "better")
    for submission, value in ((worse, 0.5), (better, 0.1)):
        for fold in folds_of(submission):
            score(fold, scores={"valid": {"err": value, "acc": 1 - value}})
    board = accepted(api.ask(f"rawdata/{raw_data}/leaderboard/"), 200)
    assert board["official"] == "err"
    assert [row["name"] for row in board["submissions"]] == ["better", "worse"]


def accepted_list(api: Api) -> list[dict[str, Any]]:
    answer = api.ask("rawdata/")
    assert answer.status_code == 200
    return list(answer.json())


def test_a_submission_that_came_too_early_to_be_checked_fails_with_the_reason(api: Api) -> None:
    raw_data = accepted(api.send("kit/", body(KIT)))["id"]
    submission = submit(api, raw_data, files={"regressor.py": pack(CODE)})
    prepare(raw_data)
    failures = {
        fold["failure"]["message"] for fold in accepted(api.ask(f"submission/{submission}/"), 200)["folds"]
    }
    assert failures == {"Missing: classifier.py: one for each workflow element."}


@pytest.mark.parametrize(
    "facts",
    [
        {"title": "x" * 1001},
        {"elements": []},
        {"elements": ["a,b"]},
        {"metrics": []},
        {"metrics": [{"name": "err", "lower_is_better": "yes"}]},
        {"metrics": [{"name": "err", "lower_is_better": True}] * 2},
        {"metrics": [{"name": "x" * 101, "lower_is_better": True}]},
        {"metrics": "err"},
    ],
)
def test_a_kit_that_says_nothing_usable_fails_as_the_organisers(api: Api, facts: dict[str, Any]) -> None:
    raw_data = accepted(api.send("kit/", body(KIT)))["id"]
    submission = submit(api, raw_data)
    job = prepare(raw_data, **facts)
    assert (job.state, job.failure) == ("failed", "data")
    assert accepted(api.ask(f"submission/{submission}/"), 200)["failure"]["kind"] == "data"


def test_a_kit_without_problem_py_is_refused(api: Api) -> None:
    refused(api, "kit/", body({"data/train.csv": b""}), "zip", "problem.py")
    refused(api, "kit/", body({"problem.py": b"def :"}), "zip", "problem.py, line 1")


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x", "a/../../x", "a\\b", "C:/x", "a//b", "a/./b", "\x07/x", "x" * 600]
)
def test_names_outside_of_the_kit_are_refused(api: Api, name: str) -> None:
    refused(api, "kit/", body(KIT | {name: b""}), "zip")


def test_links_are_refused(api: Api) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("problem.py", PROBLEM)
        link = zipfile.ZipInfo("data/train.csv")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    refused(api, "kit/", body(packed.getvalue()), "zip", "link")


def test_a_file_that_is_a_folder_too_is_refused(api: Api) -> None:
    refused(api, "kit/", body(KIT | {"data": b""}), "zip", "below a file")


def test_bombs_are_refused(api: Api, settings: Settings) -> None:
    settings.MAX_FILE = 100_000
    large = zipped(KIT | {"zeros": bytes(200_000)}, compression=zipfile.ZIP_DEFLATED)
    assert len(large) < settings.MAX_FILE
    refused(api, "kit/", body(large), "zip", "100000 bytes")
    many = {f"{number}": b"" for number in range(10_001)}
    settings.MAX_FILE = 10_000_000
    refused(api, "kit/", body(zipped(KIT | many)), "zip", "10000 are possible")


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_cant_be_bounded_are_refused(api: Api, kind: int) -> None:
    refused(api, "kit/", body(zipped(KIT, compression=kind)), "zip", "usual way")


def test_what_is_no_zip_is_refused(api: Api) -> None:
    whole = zipped(KIT, compression=zipfile.ZIP_DEFLATED)
    damaged = whole[:40] + bytes(20) + whole[60:]
    for content in (b"", b"PK", b"no zip", whole[:-30], damaged):
        refused(api, "kit/", body(content), "zip")
    for text in (
        "!",
        base64.b64encode(b"x").decode(),
        None,
        1,
        [],
        base64.b64encode(zlib.compress(b"x")).decode(),
    ):
        refused(api, "kit/", {"name": "kit", "zip": text}, "zip")


def test_a_name_is_taken_once(api: Api) -> None:
    accepted(api.send("kit/", body(KIT)))
    refused(api, "kit/", body(KIT), "name", "already exists")
    assert RawData.objects.count() == 1


def test_a_kit_takes_more_of_ramps_score_types_once_it_is_prepared(api: Api) -> None:
    raw_data = accepted(api.send("kit/", body(KIT)))["id"]
    metrics = f"rawdata/{raw_data}/metrics/"
    refused(api, metrics, {"metrics": ["Accuracy"]}, "metrics", "not prepared yet")
    prepare(raw_data)
    refused(api, metrics, {"metrics": ["accuracy"]}, "metrics", "did you mean Accuracy")
    refused(api, metrics, {"metrics": ["err"]}, "metrics", "Unknown metric")
    assert accepted(api.send(metrics, {"metrics": ["NegativeLogLikelihood"]}), 200)["metrics"] == [
        *("err", "acc"),
        "NegativeLogLikelihood",
    ]
    board = accepted(api.ask(f"rawdata/{raw_data}/leaderboard/"), 200)
    assert [metric["lower_is_better"] for metric in board["metrics"]] == [True, False, True]
