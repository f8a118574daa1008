"""Posting and listing data sets: one csv, or several files of which one module reads them."""

import uuid
from pathlib import Path

import pytest
from django.utils.dateparse import parse_datetime
from pytest_django import Settings

from datarun.contract.states import JobState
from runapp.models import Job, RawData
from runapp.services import blobs
from tests.integration.helpers import (
    CSV,
    MODULE,
    Api,
    accepted,
    custom_body,
    data_body,
    organiser,
    own_storage,
    pack,
    post_data,
    queued_up,
    refused,
    row_counts,
    split,
    stored_files,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def api() -> Api:
    return organiser()


def test_a_csv_is_posted_and_listed(api: Api) -> None:
    assert api.ask("rawdata/").json() == []
    answer = accepted(api.send("rawdata/", data_body()))
    assert answer == answer | {
        "name": "flowers",
        "target_column": "y",
        "workflow_elements": "classifier",
        "files": ["flowers.csv"],
    }
    assert isinstance(answer["id"], int)
    assert parse_datetime(answer["created_at"]) is not None
    assert api.ask("rawdata/").json() == [answer]


def test_its_bytes_are_kept_exactly(api: Api) -> None:
    raw_data = RawData.objects.get(pk=post_data(api))
    assert blobs.get(raw_data.files["flowers.csv"]) == CSV
    assert raw_data.owner is not None
    assert raw_data.owner.username == "organiser"


def test_several_files_come_with_a_module(api: Api) -> None:
    answer = accepted(api.send("rawdata/", custom_body()))
    assert answer["files"] == ["flowers_datarun.py", "images.bin"]
    assert RawData.objects.get(pk=answer["id"]).module == "flowers_datarun.py"


def test_a_module_may_come_alone(api: Api) -> None:
    body = custom_body(files={"made_up.py": pack(MODULE)})
    assert accepted(api.send("rawdata/", body))["files"] == ["made_up.py"]


def test_a_module_may_name_workflow_elements_of_its_own(api: Api) -> None:
    answer = accepted(api.send("rawdata/", custom_body(workflow_elements="segmenter, ranker")))
    assert answer["workflow_elements"] == "segmenter, ranker"


def test_a_module_needs_no_target_column(api: Api) -> None:
    body = custom_body()
    del body["target_column"]
    assert accepted(api.send("rawdata/", body))["target_column"] == ""


def test_several_files_need_a_module(api: Api) -> None:
    files = {"a.csv": pack(CSV), "b.csv": pack(CSV)}
    refused(api, "rawdata/", data_body(files=files), "files", "module", ".py")


def test_only_one_of_the_files_is_a_module(api: Api) -> None:
    files = {"one.py": pack(MODULE), "two.py": pack(MODULE), "a.csv": pack(CSV)}
    refused(api, "rawdata/", custom_body(files=files), "files", "one.py", "two.py")


def test_the_module_must_parse(api: Api) -> None:
    files = {"broken.py": pack(b"import os\ndef prepare_data(:\n"), "a.csv": pack(CSV)}
    refused(api, "rawdata/", custom_body(files=files), "files", "broken.py", "line 2", "def prepare_data(:")


@pytest.mark.parametrize("same", ["flowers", " flowers ", "flowers\n"])
def test_a_taken_name_is_refused(api: Api, same: str) -> None:
    post_data(api)
    refused(api, "rawdata/", data_body(name=same), "name", "RawData with this name already exists")


def test_another_organiser_finds_the_name_taken_too(api: Api) -> None:
    post_data(api)
    refused(
        organiser("other"),
        "rawdata/",
        custom_body(name="flowers"),
        "name",
        "RawData with this name already exists",
    )


def test_names_differ_by_case(api: Api) -> None:
    assert post_data(api) != post_data(api, name="Flowers")


@pytest.mark.parametrize(
    "name", ["", "   ", None, 3, 1.5, True, [], {}, ["flowers"], "x" * 101, "a\0b", "\ud800"]
)
def test_a_name_is_text_of_a_fair_length(api: Api, name: object) -> None:
    refused(api, "rawdata/", data_body(name=name), "name")


@pytest.mark.parametrize("name", ["x" * 100, "fleurs d'été 🌸", "<b>&amp;</b>", "a/b", "'; DROP TABLE", "%s"])
def test_any_other_name_comes_back_as_it_was(api: Api, name: str) -> None:
    post_data(api, name=name)
    assert [row["name"] for row in api.ask("rawdata/").json()] == [name]


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ("", ["blank"]),
        (" , ,", ["classifier"]),
        ("magician", ["magician", "feature_extractor", "regressor"]),
        ("feature_extractor", ["classifier", "regressor"]),
        ("classifier, regressor", ["classifier", "regressor"]),
        ("classifier, classifier", ["twice"]),
        ("regressor, calibrator", ["calibrator", "classifier"]),
        ("../classifier", ["../classifier"]),
        ("classifier.py", ["classifier.py"]),
        ("Classifier", ["Classifier"]),
        (None, ["null"]),
        (["classifier"], ["string"]),
        ("x" * 201, ["200"]),
    ],
)
def test_bad_workflow_elements_are_named(api: Api, elements: object, words: list[str]) -> None:
    refused(api, "rawdata/", data_body(workflow_elements=elements), "workflow_elements", *words)


@pytest.mark.parametrize(
    "elements",
    [
        "regressor",
        "feature_extractor,classifier",
        " feature_extractor , classifier,calibrator ",
        "classifier,",
    ],
)
def test_good_workflow_elements_are_accepted(api: Api, elements: str) -> None:
    assert post_data(api, workflow_elements=elements)


@pytest.mark.parametrize("field", ["name", "workflow_elements", "files"])
def test_a_missing_field_is_named(api: Api, field: str) -> None:
    body = data_body()
    del body[field]
    refused(api, "rawdata/", body, field, "required")


def test_an_empty_request_names_all_that_is_missing(api: Api) -> None:
    answer = api.send("rawdata/", {})
    assert answer.status_code == 400
    assert set(answer.json()) == {"name", "workflow_elements", "files"}


def test_the_same_bytes_are_stored_once(api: Api) -> None:
    post_data(api)
    before = row_counts()["runapp.Blob"]
    post_data(api, name="again")
    assert row_counts()["runapp.Blob"] == before


def test_a_large_file_is_kept_beside_the_database(api: Api, settings: Settings, tmp_path: Path) -> None:
    own_storage(settings, tmp_path)
    csv = CSV + b"11,12,1\n" * 20_000
    raw_data = RawData.objects.get(pk=post_data(api, files={"large.csv": pack(csv)}))
    assert stored_files(tmp_path) == {raw_data.files["large.csv"]}
    assert blobs.get(raw_data.files["large.csv"]) == csv


def test_a_refused_data_set_leaves_no_file_either(api: Api, settings: Settings, tmp_path: Path) -> None:
    own_storage(settings, tmp_path)
    large = pack(CSV + b"11,12,1\n" * 20_000)
    refused(api, "rawdata/", data_body(files={"large.csv": large}, target_column="z"), "target_column")
    refused(api, "rawdata/", custom_body(files={"large.csv": large, "m.py": pack(b"def")}), "files")
    assert stored_files(tmp_path) == set()


def test_the_list_is_in_the_order_of_posting(api: Api) -> None:
    ids = [post_data(api, name=name) for name in ("c", "a", "b")]
    assert [row["id"] for row in api.ask("rawdata/").json()] == ids


@pytest.mark.django_db(transaction=True)
def test_one_of_several_at_once_gets_the_name() -> None:
    bodies = [data_body(files={"flowers.csv": pack(CSV + b"%d,0,0\n" % n)}) for n in range(3)]
    clients = [organiser(f"organiser {n}") for n in range(3)]
    answers = queued_up(
        lambda: RawData.objects.create(name="flowers"),  # nobody sees it, and who inserts the name waits
        *(lambda n=n: clients[n].send("rawdata/", bodies[n]) for n in range(3)),
    )
    assert sorted(answer.status_code for answer in answers) == [201, 400, 400]
    for answer in answers:
        if answer.status_code == 400:
            assert "RawData with this name already exists" in answer.json()["name"][0]
    assert RawData.objects.count() == 1
    assert row_counts()["runapp.Blob"] == 1  # nothing of the others has stayed


@pytest.mark.django_db(transaction=True)
def test_the_same_split_asked_for_at_once_is_one_job() -> None:
    api = organiser()
    raw_data = post_data(api)
    tasks = queued_up(
        lambda: RawData.objects.select_for_update().get(pk=raw_data), *[lambda: split(api, raw_data)] * 3
    )
    assert len(set(tasks)) == 1
    assert list(Job.objects.values_list("id", "state")) == [(uuid.UUID(tasks[0]), JobState.CREATED)]
