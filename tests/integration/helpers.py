"""What the API's tests share: packing as clients do it, people who ask, and jobs at some point of their life.

No runner takes part: what one would report is recorded through the services that record it.
"""

import base64
import json
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import numpy as np
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection, transaction
from numpy.typing import NDArray
from pytest_django import Settings
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from datarun.contract.messages import Claim, Outcome, StageReached
from runapp import states
from runapp.models import Job, SubmissionFold
from runapp.services import blobs, results, roles
from runapp.services.roles import Role

T = TypeVar("T")
#: What Django's test client answers: a response that knows `json()`.
Answer = Any

RUNNER = "runner-1"
PATIENCE = 30.0  # seconds to wait for what must happen

#: Ten rows below the header.
CSV = b"a,b,y\n" + b"".join(b"%d,%d,%d\n" % (row, 2 * row, row % 2) for row in range(10))
#: A module that parses is all that the master asks of a submission.
CODE = b"class Classifier:\n    pass\n"
#: What the master knows of a custom module is that it parses.
MODULE = b"def prepare_data(raw_data_path):\n    pass\n"


# --- packing, without datarun's own code ---------------------------------------------------------------


def pack(content: bytes) -> str:
    """base64(zlib(content))."""
    return base64.b64encode(zlib.compress(content)).decode()


def unpack(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text, validate=True))


def pack_indices(*rows: int) -> str:
    """base64(zlib(int64 little-endian bytes))."""
    return pack(np.array(rows, dtype="<i8").tobytes())


def unpack_floats(text: str, *shape: int) -> NDArray[np.float64]:
    """The float64 array of this shape in base64(zlib(C-order bytes))."""
    return np.frombuffer(unpack(text), dtype="<f8").reshape(shape)


# --- who asks ------------------------------------------------------------------------------------------


class Api(APIClient):
    """A client below ``/runapp/`` that sends bodies as JSON text, the way `requests` does."""

    def ask(self, route: str, **query: str | float) -> Answer:
        return self.get(f"/runapp/{route}", query)

    def send(self, route: str, body: object) -> Answer:
        """Posts `body`: text and bytes as they are, anything else as JSON."""
        text = body if isinstance(body, str | bytes) else json.dumps(body)
        return self.post(f"/runapp/{route}", text, content_type="application/json")


def organiser(name: str = "organiser") -> Api:
    """A client who shows the token of the organiser `name`, who is created if missing."""
    user, _ = User.objects.get_or_create(username=name)
    roles.give(user, Role.ORGANISER)
    token, _ = Token.objects.get_or_create(user=user)
    api = Api()
    api.credentials(HTTP_AUTHORIZATION=f"Token {token.key}")
    return api


# --- what they send ------------------------------------------------------------------------------------


def data_body(**changed: object) -> dict[str, Any]:
    """A data set of one csv, as posted to ``rawdata/``."""
    return {
        "name": "flowers",
        "target_column": "y",
        "workflow_elements": "classifier",
        "files": {"flowers.csv": pack(CSV)},
    } | changed


def custom_body(**changed: object) -> dict[str, Any]:
    """A data set with a custom module, as posted to ``rawdata/``."""
    files = {"flowers_datarun.py": pack(MODULE), "images.bin": pack(b"\x00\x01")}
    return data_body(name="images", target_column="", files=files) | changed


def fold_body(raw_data: int, fold: int = 1, submission: int = 1, /, **changed: object) -> dict[str, Any]:
    """A fold with a new submission, as posted to ``submissionfold/``."""
    return {
        "databoard_sf_id": fold,
        "databoard_s_id": submission,
        "raw_data": raw_data,
        "files": {"classifier.py": pack(CODE)},
        "train_is": pack_indices(0, 1, 2),
        "test_is": pack_indices(3, 4),
    } | changed


def further_fold_body(fold: int, submission: int = 1, /, **changed: object) -> dict[str, Any]:
    """One more fold of a submission that exists."""
    body = fold_body(0, fold, submission) | changed
    del body["raw_data"], body["files"]
    return body


def accepted(response: Answer, status: int = 201) -> dict[str, Any]:
    """The answer of a request that must succeed."""
    assert response.status_code == status, response.content.decode()
    answer: dict[str, Any] = response.json()
    return answer


def post_data(api: Api, **changed: object) -> int:
    """Posts a csv data set; returns its id."""
    return int(accepted(api.send("rawdata/", data_body(**changed)))["id"])


def post_custom_data(api: Api, **changed: object) -> int:
    """Posts a data set with a custom module; returns its id."""
    return int(accepted(api.send("rawdata/", custom_body(**changed)))["id"])


def split(api: Api, raw_data: int, held_out_test: float = 0.2, **more: object) -> str:
    """Asks for a split; returns its task_id."""
    body = {"raw_data_id": raw_data, "held_out_test": held_out_test} | more
    return str(accepted(api.send("rawdata/split/", body), 200)["task_id"])


def post_fold(api: Api, raw_data: int, fold: int = 1, submission: int = 1, /, **changed: object) -> str:
    """Posts a fold with its new submission; returns its task_id."""
    body = fold_body(raw_data, fold, submission, **changed)
    return str(accepted(api.send("submissionfold/", body))["task_id"])


# --- what runners report -------------------------------------------------------------------------------


def start(task_id: str, runner: str = RUNNER) -> int:
    """A runner takes the job's order; returns the attempt."""
    with transaction.atomic():
        assert states.queue([UUID(task_id)]), f"job {task_id} can't be queued"
    attempt = Job.objects.get(pk=task_id).attempt
    results.record([Claim(task_id, attempt, runner)])
    return attempt


def reach(task_id: str, stage: str) -> None:
    """The running job has come to `stage`."""
    attempt = Job.objects.get(pk=task_id).attempt
    results.note([StageReached(task_id, attempt, RUNNER, stage)])


def finish(task_id: str, **outcome: Any) -> None:
    """The running job ends with this outcome."""
    attempt = Job.objects.get(pk=task_id).attempt
    results.record([Outcome(task_id, attempt, RUNNER, **outcome)])


def finish_preparation(task_id: str, n_train: int = 8, n_test: int = 2) -> None:
    """The running preparation succeeds; its parts have this many rows."""
    rows = {"train_rows": blobs.put(b"rows to train on"), "test_rows": blobs.put(b"rows to test on")}
    finish(task_id, counts={"n_train": n_train, "n_test": n_test}, blobs=rows)


def prepared(task_id: str, n_train: int = 8, n_test: int = 2) -> None:
    """A runner prepares the data set, into parts with this many rows."""
    start(task_id)
    finish_preparation(task_id, n_train, n_test)


def unprepared(task_id: str, message: str = "ValueError: pandas can't read it") -> None:
    """A runner fails to prepare the data set."""
    fail(task_id, "data", message)


def ready_data(api: Api, **changed: object) -> int:
    """Posts a data set and has it prepared, into 8 training rows and 2 test rows; returns its id."""
    raw_data = post_data(api, **changed)
    prepared(split(api, raw_data))
    return raw_data


TRAIN = np.linspace(0, 1, 16).reshape(8, 2)
TEST = np.linspace(1, 2, 4).reshape(2, 2)


def succeeded(
    task_id: str, train: NDArray[np.float64] = TRAIN, test: NDArray[np.float64] = TEST, **outcome: Any
) -> None:
    """A runner trains and tests the fold, with these predictions."""
    start(task_id)
    finish(task_id, arrays={"train": train, "test": test}, **outcome)


def fail(task_id: str, kind: str, message: str, **outcome: Any) -> None:
    """A runner starts the job, which fails with this failure kind and message."""
    start(task_id)
    finish(task_id, failure=kind, message=message, **outcome)


# --- what must not change, and what happens at once ----------------------------------------------------


def row_counts() -> Mapping[str, int]:
    """Rows in every table."""
    return {model._meta.label: model._default_manager.count() for model in apps.get_models()}


def refused(
    api: Api, route: str, body: object, field: str, *words: str, status: int = 400
) -> dict[str, list[str]]:
    """Posts what must be refused: the answer names `field` alone, says `words`, and no row has changed."""
    before = row_counts()
    response = api.send(route, body)
    assert response.status_code == status, response.content.decode()
    problems: dict[str, list[str]] = response.json()
    assert list(problems) == [field], problems
    said = problems[field] if field == "detail" else " ".join(problems[field])
    assert all(word in said for word in words), said
    assert row_counts() == before
    return problems


def own_storage(settings: Settings, folder: Path) -> None:
    """Large blobs go to `folder` until the test ends."""
    default = settings.STORAGES["default"] | {"OPTIONS": {"location": str(folder)}}
    settings.STORAGES = settings.STORAGES | {"default": default}


def stored_files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def in_thread(pool: ThreadPoolExecutor, call: Callable[[], T]) -> Future[T]:
    """Starts `call` in a thread with a database connection of its own; returns the future."""

    def run() -> T:
        try:
            return call()
        finally:
            connection.close()

    return pool.submit(run)


def at_once(*calls: Callable[[], T]) -> list[T]:
    """Runs the calls at the same moment; returns what they return, in their order."""
    barrier = threading.Barrier(len(calls), timeout=PATIENCE)

    def together(call: Callable[[], T]) -> T:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [in_thread(pool, partial(together, call)) for call in calls]
        return [future.result() for future in futures]


def queued_up(hold: Callable[[], object], *calls: Callable[[], T]) -> list[T]:
    """Starts the calls, one after the other, while an open transaction has done `hold`, which makes each wait.

    Once all wait for a lock, takes back what `hold` did. Returns what they return, in their order.
    """
    with ThreadPoolExecutor(len(calls)) as pool:
        with transaction.atomic():
            hold()
            futures = []
            for number, call in enumerate(calls, start=1):
                futures.append(in_thread(pool, call))
                _await_blocked(number)
            transaction.set_rollback(True)
        return [future.result() for future in futures]


def _await_blocked(number: int) -> None:
    """Waits until `number` connections of this database wait for a lock."""
    deadline = time.monotonic() + PATIENCE
    with connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone()[0] >= number:
                return
            assert time.monotonic() < deadline, f"fewer than {number} connections wait for a lock"
            time.sleep(0.01)


# --- whole submissions ---------------------------------------------------------------------------------

#: Three folds of the eight training rows of `CSV`.
CUT = ((range(4, 8), range(4)), (range(4), range(4, 6)), (range(6), range(6, 8)))


def scored_body(**changed: object) -> dict[str, Any]:
    """A data set whose folds the platform cuts and scores."""
    cv = {"splitter": "KFold", "parameters": {"n_splits": len(CUT)}}
    return data_body(cv=cv, metrics=["accuracy", "neg_log_loss"]) | changed


def cut_blobs() -> dict[str, str]:
    """The blobs of `CUT`, as a runner names them."""
    return {
        f"cv/{number}/{part}": blobs.put(np.array(rows, "<i8").tobytes())
        for number, pair in enumerate(CUT)
        for part, rows in zip(("train_is", "test_is"), pair, strict=True)
    }


def cut(task_id: str, **said: Any) -> None:
    """A runner prepares the data set and cuts its folds."""
    rows = {"train_rows": blobs.put(b"rows to train on"), "test_rows": blobs.put(b"rows to test on")}
    start(task_id)
    finish(
        task_id,
        **{
            "counts": {"n_train": 8, "n_test": 2, "n_folds": len(CUT)},
            "blobs": rows | cut_blobs(),
            **said,
        },
    )


def post_scored(api: Api, **changed: object) -> int:
    """Posts a data set whose folds the platform cuts; returns its id."""
    return int(accepted(api.send("rawdata/", scored_body(**changed)))["id"])


def ready_scored(api: Api, **changed: object) -> int:
    """The same, prepared and cut."""
    raw_data = post_scored(api, **changed)
    cut(split(api, raw_data))
    return raw_data


def submit(api: Api, raw_data: int | str, name: str = "first", **changed: object) -> int:
    """Submits to the data set; returns the submission's id."""
    body = {"raw_data": raw_data, "name": name, "files": {"classifier.py": pack(CODE)}} | changed
    return int(accepted(api.send("submission/", body))["id"])


def folds_of(submission: int) -> list[SubmissionFold]:
    """The submission's folds, by number."""
    folds = SubmissionFold.objects.filter(databoard_s=submission)
    return list(folds.select_related("job").order_by("cv_fold__number"))


#: What a fold is worth, if nothing else is said.
SCORES = {"train": 0.9, "valid": 0.75, "test": 0.7}
FACTS = {"threads": 1, "seed": 7, "cpu": "a CPU", "python": "3.11.7", "versions": {"numpy": "2.3.5"}}


def score(fold: SubmissionFold, valid: float = 0.75, **said: Any) -> None:
    """A runner tests and scores the fold: the accuracy of its validation rows is `valid`."""
    worth = {**SCORES, "valid": valid}
    scores = {part: {"accuracy": value, "neg_log_loss": value - 1} for part, value in worth.items()}
    start(str(fold.job_id))
    outcome = {"arrays": {"train": np.full((8, 2), 0.5), "test": np.full((2, 2), 0.5)}, "scores": scores}
    finish(str(fold.job_id), **{"stage": "validated", "facts": FACTS, **outcome, **said})
