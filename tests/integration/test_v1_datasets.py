"""Data sets of `/api/v1/`: posted as JSON, forms, zips and uploads; prepared at once; changed, closed, deleted."""

import hashlib
import io
import json
import stat
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from pytest_django import Settings

from runapp.models import Blob, Job, RawData
from runapp.services import blobs, checks, contents
from runapp.services.roles import Role
from tests.integration.helpers import CSV, MODULE, cut, own_storage, row_counts, unprepared
from tests.integration.v1 import V1, Answer, problem, user

pytestmark = pytest.mark.django_db

FLOWERS: dict[str, Any] = {"name": "flowers", "target_column": "y", "elements": ["classifier"]}
CV = {"splitter": "KFold", "parameters": {"n_splits": 3}}


@pytest.fixture(autouse=True)
def folder(settings: Settings, tmp_path: Path) -> Path:
    own_storage(settings, tmp_path / "blobs")
    settings.DIR_DATA = tmp_path
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "uploads"
    return tmp_path


@pytest.fixture
def api() -> V1:
    return user("ada", Role.ORGANISER)


def form(api: V1, files: dict[str, bytes] | None = None, /, **fields: Any) -> Answer:
    """Posts a form: `files` by name, other values as texts."""
    texts = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in fields.items()}
    parts = [SimpleUploadedFile(name, content) for name, content in (files or {}).items()]
    return api.post("/api/v1/datasets/", FLOWERS | texts | ({"file": parts} if parts else {}))


def uploaded(api: V1, content: bytes) -> str:
    """The id of a finished upload."""
    announced = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    id = str(api.send("uploads/", announced).json()["id"])
    answer: Any = api.generic(
        "PATCH",
        f"/api/v1/uploads/{id}/",
        content,
        content_type="application/offset+octet-stream",
        HTTP_UPLOAD_OFFSET="0",
    )
    assert answer.status_code == 200, answer.content
    return id


def zipped(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def posted(answer: Answer) -> dict[str, Any]:
    assert answer.status_code == 201, answer.content
    made: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == f"/api/v1/datasets/{made['id']}/"
    return made


def test_a_form_with_a_csv_makes_a_data_set_that_is_prepared_at_once(api: V1) -> None:
    made = posted(form(api, {"iris.csv": CSV}, cv=CV, metrics="accuracy, neg_log_loss"))
    assert (made["state"], made["owner"], made["files"]) == ("preparing", "ada", ["iris.csv"])
    assert (made["held_out_test"], made["random_state"]) == (0.2, 42)
    assert [metric["name"] for metric in made["metrics"]] == ["accuracy", "neg_log_loss"]
    assert blobs.get(RawData.objects.get().files["iris.csv"]) == CSV
    cut(str(Job.objects.get().pk))
    ready = api.ask("datasets/flowers/").json()
    assert (ready["state"], ready["n_train"], ready["n_test"], ready["n_folds"]) == ("ready", 8, 2, 3)


def test_an_upload_makes_the_same(api: V1) -> None:
    made = posted(
        api.send("datasets/", FLOWERS | {"upload": uploaded(api, CSV), "cv": CV, "metrics": ["accuracy"]})
    )
    assert made["files"] == ["flowers.csv"]
    assert blobs.get(RawData.objects.get().files["flowers.csv"]) == CSV


def test_an_upload_that_is_not_finished_or_somebody_elses_makes_nothing(api: V1) -> None:
    theirs = uploaded(user("eve", Role.ORGANISER), CSV)
    unfinished = api.send("uploads/", {"size": 1, "sha256": "0" * 64}).json()["id"]
    for upload in (theirs, unfinished, "00000000-0000-0000-0000-000000000000"):
        said = problem(api.send("datasets/", FLOWERS | {"upload": upload}), 400)
        assert [error["field"] for error in said["errors"]] == ["upload"]


@pytest.mark.parametrize("prefix", ["", "images/"])
def test_a_module_with_its_files_comes_as_one_zip(api: V1, prefix: str) -> None:
    archive = zipped({f"{prefix}images.py": MODULE, f"{prefix}a.bin": b"\0", "__MACOSX/._a.bin": b"x"})
    made = posted(form(api, {"images.zip": archive}, kind="custom"))
    assert (made["kind"], made["files"]) == ("custom", ["a.bin", "images.py"])
    row = RawData.objects.get()
    assert (row.module, blobs.get(row.files["a.bin"])) == ("images.py", b"\0")


def test_or_as_parts_of_a_form(api: V1) -> None:
    assert posted(form(api, {"images.py": MODULE, "a.bin": b"\0"}, kind="custom"))["kind"] == "custom"


def test_a_kit_comes_as_one_zip(api: V1) -> None:
    files = {
        "kit/problem.py": b"x = 1",
        "kit/data/a.csv": CSV,
        "kit/submissions/first/classifier.py": b"y = 2",
    }
    made = posted(form(api, {"kit.zip": zipped(files)}, kind="kit", submissions="true"))
    assert (made["kind"], made["files"]) == ("kit", ["data/a.csv", "problem.py"])
    assert [each["name"] for each in api.ask("datasets/flowers/submissions/").json()["results"]] == ["first"]


def link(name: str = "link") -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def hostile(*names: str | zipfile.ZipInfo) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in names:
            archive.writestr(name, b"/etc/passwd")
    return made.getvalue()


def bomb() -> bytes:
    return zipped({"images.py": MODULE, "zeros": bytes(3 * 2**20)})


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (hostile(link(), "m.py"), "link"),
        (hostile("/etc/passwd", "m.py"), "no path below"),
        (hostile("../up.py", "m.py"), "no plain file name"),
        (hostile("a/../../up.py", "m.py"), "no plain file name"),
        (hostile("C:\\x.py", "m.py"), "no path below"),
        (hostile("sub/deep.py", "m.py"), "folders"),
        (hostile(*(f"{number}.py" for number in range(10_000))), "10000 files"),
        (hostile("m.py")[:-30], "No zip file"),
        (hostile(), "no files"),
        (bomb(), "more than 2097152"),
    ],
)
def test_a_zip_that_could_do_harm_is_refused(api: V1, settings: Settings, archive: bytes, words: str) -> None:
    settings.MAX_FILE = 2 * 2**20
    before = row_counts()
    said = problem(form(api, {"x.zip": archive}, kind="custom"), 400)
    assert words in said["detail"]
    assert row_counts() == before


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"name": ""}, "name"),
        ({"target_column": "z"}, "target_column"),
        ({"elements": "nothing"}, "workflow_elements"),
        ({"held_out_test": "1"}, "held_out_test"),
        ({"random_state": "-1"}, "random_state"),
        ({"cv": {"splitter": "Nothing"}, "metrics": "accuracy"}, "cv"),
        ({"cv": "[", "metrics": "accuracy"}, "cv"),
        ({"cv": CV, "metrics": "acuracy"}, "metrics"),
        ({"limits": {"submissions_per_day": -1}}, "limits.submissions_per_day"),
        ({"kind": "none"}, "kind"),
    ],
)
def test_bad_input_names_the_field_and_writes_nothing(api: V1, changed: dict[str, Any], field: str) -> None:
    before = row_counts()
    said = problem(form(api, {"iris.csv": CSV}, **changed), 400)
    assert [error["field"] for error in said["errors"]] == [field]
    assert row_counts() == before


def test_it_takes_files_in_one_way_at_a_time(api: V1) -> None:
    problem(form(api), 400)
    problem(form(api, {"a.csv": CSV, "b.csv": CSV}), 400)
    problem(form(api, {"a.csv": CSV}, upload=uploaded(api, CSV)), 400)


def test_more_than_a_file_may_be_is_given_up_while_it_comes(api: V1, settings: Settings) -> None:
    settings.MAX_FILE = 1000
    problem(form(api, {"iris.csv": CSV * 100}), 413)


def test_a_large_csv_does_not_pass_through_memory(api: V1, folder: Path) -> None:
    large = folder / "large.csv"
    with large.open("wb") as file:
        file.write(b"a,b,y\n")
        for _ in range(32):
            file.write(b"1,2,0\n" * 2**17)
    size = large.stat().st_size
    content = contents.Content(size, lambda: large.open("rb"))
    tracemalloc.start()
    assert checks.csv_file("large.csv", content, "y") == (32 * 2**17, ["a", "b", "y"])
    stored = content.store()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert Blob.objects.get(pk=stored).size == size
    assert peak < 10 * 2**20


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lines_are_counted_whatever_ends_them(end: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "_PIECE", 3)
    text = end.join([b"a,y", b"1,2", b"3,4", b"5,6"])
    for content in (text, text + end):
        assert checks.csv_file("x.csv", contents.of_bytes(content), "y")[0] == 3


def test_it_is_found_by_name_and_by_id(api: V1) -> None:
    made = posted(form(api, {"iris.csv": CSV}))
    assert api.ask("datasets/flowers/").json() == api.ask(f"datasets/{made['id']}/").json()
    problem(api.ask("datasets/roses/"), 404)


def test_a_preparation_that_failed_says_why(api: V1) -> None:
    posted(form(api, {"iris.csv": CSV}))
    unprepared(str(Job.objects.get().pk), "ValueError: it is torn")
    shown = api.ask("datasets/flowers/").json()
    assert (shown["state"], shown["problem"]) == ("failed", "ValueError: it is torn")


def test_what_has_not_changed_is_not_sent_again(api: V1) -> None:
    posted(form(api, {"iris.csv": CSV}))
    etag = api.ask("datasets/flowers/").headers["ETag"]
    again = api.get("/api/v1/datasets/flowers/", HTTP_IF_NONE_MATCH=etag)
    assert (again.status_code, again.content) == (304, b"")
    unprepared(str(Job.objects.get().pk))
    assert api.get("/api/v1/datasets/flowers/", HTTP_IF_NONE_MATCH=etag).status_code == 200


def test_lists_are_filtered(api: V1) -> None:
    posted(form(api, {"iris.csv": CSV}))
    posted(form(user("grace", Role.ORGANISER), {"iris.csv": CSV}, name="roses"))

    def names(**query: str) -> list[str]:
        return [each["name"] for each in api.ask("datasets/", **query).json()["results"]]

    assert names() == ["roses", "flowers"]
    assert names(search="OWER") == ["flowers"]
    assert names(owner="grace") == ["roses"]
    api.send("datasets/flowers/close/")
    assert names(closed="true") == ["flowers"]
    assert names(closed="false") == ["roses"]
    problem(api.ask("datasets/", closed="perhaps"), 400)


def test_its_organiser_closes_opens_and_deletes_it(api: V1) -> None:
    posted(form(api, {"iris.csv": CSV}))
    assert api.send("datasets/flowers/close/").json()["state"] == "closed"
    assert api.send("datasets/flowers/open/").json()["closed_at"] is None
    other = user("grace", Role.ORGANISER)
    for answer in (other.send("datasets/flowers/close/"), other.delete("/api/v1/datasets/flowers/")):
        problem(answer, 403)
    assert api.delete("/api/v1/datasets/flowers/").status_code == 204
    problem(api.ask("datasets/flowers/"), 404)


def test_limits_and_metrics_can_be_changed_later(api: V1) -> None:
    posted(form(api, {"iris.csv": CSV}, cv=CV, metrics="accuracy", limits={"bytes": 10, "folds": 5}))

    def patch(**body: Any) -> dict[str, Any]:
        answer = api.generic(
            "PATCH", "/api/v1/datasets/flowers/", json.dumps(body), content_type="application/json"
        )
        assert answer.status_code == 200, answer.content
        return dict(answer.json())

    assert patch(limits={"bytes": None, "submissions_per_day": 3})["limits"] == {
        "bytes": None,
        "folds": 5,
        "submissions_per_day": 3,
    }
    names = [metric["name"] for metric in patch(metrics=["accuracy", "f1_macro"])["metrics"]]
    assert names == ["accuracy", "f1_macro"]


def test_the_same_request_again_makes_nothing_twice(api: V1) -> None:
    answers = [
        api.post(
            "/api/v1/datasets/",
            FLOWERS | {"file": SimpleUploadedFile("iris.csv", CSV)},
            HTTP_IDEMPOTENCY_KEY="k",
        )
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert RawData.objects.count() == 1
