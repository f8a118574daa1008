"""Lists of folds and data sets: pages and filters keep their shape, and 100,000 folds cost no prediction bytes."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from django.db import connection
from django.db.models import Model
from django.test.utils import CaptureQueriesContext

from datarun.contract.states import JobState
from runapp import states
from runapp.models import Job, RawData, SubmissionFold
from tests.integration.helpers import (
    TRAIN,
    Api,
    accepted,
    fail,
    further_fold_body,
    organiser,
    pack_indices,
    post_data,
    post_fold,
    reach,
    ready_data,
    start,
    succeeded,
    unpack,
)

pytestmark = pytest.mark.django_db

FOLD_LISTS = ["submissionfold/", "submissionfold-light/"]
LISTS = [*FOLD_LISTS, "rawdata/"]
every_list = pytest.mark.parametrize("route", LISTS)
every_fold_list = pytest.mark.parametrize("route", FOLD_LISTS)


@pytest.fixture
def api() -> Api:
    return organiser()


def ids(api: Api, route: str, **query: str | float) -> list[int]:
    key = "id" if route == "rawdata/" else "databoard_sf_id"
    answer = api.ask(route, **query)
    assert answer.status_code == 200, answer.content.decode()
    return [row[key] for row in answer.json()]


# --- shape ---------------------------------------------------------------------------------------------


@every_list
def test_nothing_is_an_empty_list(api: Api, route: str) -> None:
    assert api.ask(route).json() == []


def test_the_light_list_has_four_fields(api: Api) -> None:
    raw_data = ready_data(api)
    succeeded(post_fold(api, raw_data, 2, 5))
    post_fold(api, raw_data, 1, 6)
    assert api.ask("submissionfold-light/").json() == [
        {"databoard_sf_id": 1, "databoard_s": 6, "state": "TODO", "new": True},
        {"databoard_sf_id": 2, "databoard_s": 5, "state": "TESTED", "new": True},
    ]


def test_the_plain_list_is_the_detail_without_predictions_and_indices(api: Api) -> None:
    raw_data = ready_data(api)
    succeeded(
        post_fold(api, raw_data, 1, 1, priority="H"),
        measures={"train_time": 1.5, "test_memory": 9.0},
        log="log",
    )
    fail(post_fold(api, raw_data, 2, 2), "user_error", "message", log="log")
    fail(post_fold(api, raw_data, 3, 3), "user_error", "", log="")
    post_fold(api, raw_data, 4, 4)
    large = {"test_predictions", "full_train_predictions", "train_is", "test_is"}
    rows = api.ask("submissionfold/").json()
    assert len(rows) == 4
    for row in rows:
        detail = accepted(api.ask(f"submissionfold/{row['databoard_sf_id']}/"), 200)
        assert row.keys() >= large
        assert row == {field: None if field in large else detail[field] for field in row}
    assert rows[1]["log_messages"] == "message - ERROR(train)\nlog"


def test_the_detail_has_predictions_and_indices(api: Api) -> None:
    raw_data = ready_data(api)
    succeeded(post_fold(api, raw_data, train_is=pack_indices(2, 1), test_is=pack_indices(0)))
    detail = accepted(api.ask("submissionfold/1/"), 200)
    assert unpack(detail["train_is"]) == np.array([2, 1], dtype="<i8").tobytes()
    assert unpack(detail["test_is"]) == np.array([0], dtype="<i8").tobytes()
    assert unpack(detail["full_train_predictions"]) == TRAIN.tobytes()
    assert detail["new"] is True  # looking is not asking


# --- pages ---------------------------------------------------------------------------------------------


@pytest.fixture
def _seven(api: Api) -> None:
    first = ready_data(api, name="0")
    for n in range(1, 7):
        post_data(api, name=str(n))
    for n in range(7):
        post_fold(api, first, n, n)


@pytest.mark.usefixtures("_seven")
@every_list
def test_pages_are_slices_of_the_whole(api: Api, route: str) -> None:
    everything = ids(api, route)
    assert len(everything) == 7
    assert ids(api, route, limit=3) == everything[:3]
    assert ids(api, route, limit=3, offset=3) == everything[3:6]
    assert ids(api, route, limit=3, offset=6) == everything[6:]
    assert ids(api, route, offset=5) == everything[5:]
    assert ids(api, route, offset=7) == ids(api, route, offset=2**31 - 1, limit=2**31 - 1) == []
    assert ids(api, route, limit=2**31 - 1) == ids(api, route, limit="", offset="0") == everything


@pytest.mark.usefixtures("_seven")
@every_list
def test_a_page_has_the_same_shape_as_the_whole(api: Api, route: str) -> None:
    assert api.ask(route, limit=2, offset=1).json() == api.ask(route).json()[1:3]


@every_list
@pytest.mark.parametrize("field", ["limit", "offset"])
@pytest.mark.parametrize(
    "value", ["-1", "x", "1.5", "1e3", "NaN", "9" * 30, "9" * 2000, str(2**31), "\0", "1;--"]
)
def test_bad_pages_are_refused(api: Api, route: str, field: str, value: str) -> None:
    answer = api.ask(route, **{field: value})
    assert answer.status_code == 400
    assert list(answer.json()) == [field]


@every_list
def test_a_page_has_at_least_one_row(api: Api, route: str) -> None:
    assert list(api.ask(route, limit=0).json()) == ["limit"]


# --- filters -------------------------------------------------------------------------------------------


@pytest.fixture
def data_sets(api: Api) -> list[int]:
    """Two data sets with a fold in every state: 1 to 7 in the first, 11 to 17 in the second."""
    data_sets = [ready_data(api, name=name) for name in ("first", "second")]
    for n, raw_data in zip((0, 10), data_sets, strict=True):
        tasks = [post_fold(api, raw_data, n + 1, n + 1)]
        for fold in range(2, 8):
            answer = api.send("submissionfold/", further_fold_body(n + fold, n + 1))
            tasks.append(accepted(answer)["task_id"])
        waiting, started, trained, validated, tested, failed, cancelled = tasks
        for task_id in (started, trained, validated):
            start(task_id)
        reach(trained, "trained")
        reach(validated, "validated")
        succeeded(tested)
        fail(failed, "user_error", "broken")
        states.cancel(Job.objects.filter(pk=cancelled))
        assert Job.objects.get(pk=waiting).state == JobState.CREATED
    return data_sets


@every_fold_list
def test_filters_pick_folds(api: Api, data_sets: list[int], route: str) -> None:
    first, second = data_sets
    assert ids(api, route, raw_data=first) == [1, 2, 3, 4, 5, 6, 7]
    assert ids(api, route, submission=11) == [11, 12, 13, 14, 15, 16, 17]
    by_state = {
        state: ids(api, route, state=state) for state in ("TODO", "TRAINED", "VALIDATED", "TESTED", "ERROR")
    }
    assert by_state == {
        "TODO": [1, 2, 11, 12],
        "TRAINED": [3, 13],
        "VALIDATED": [4, 14],
        "TESTED": [5, 15],
        "ERROR": [6, 7, 16, 17],
    }
    assert ids(api, route, raw_data=second, state="ERROR", limit=1, offset=1) == [17]
    assert ids(api, route, raw_data=second, submission=1) == []
    assert ids(api, route, raw_data="", submission="", state="") == ids(api, route)


@every_fold_list
def test_a_state_that_is_filtered_for_is_the_state_that_is_shown(
    api: Api, data_sets: list[int], route: str
) -> None:
    for row in api.ask(route).json():
        assert row in api.ask(route, state=row["state"]).json()


@every_fold_list
@pytest.mark.parametrize("field", ["raw_data", "submission"])
def test_an_id_that_is_unknown_has_no_folds(api: Api, data_sets: list[int], route: str, field: str) -> None:
    for id in (10**6, 2**63 - 1, 2**63, 10**30, -1, -(10**30)):
        assert ids(api, route, **{field: id}) == []


@every_fold_list
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("state", "tested"),
        ("state", "FINISHED"),
        ("state", "\0"),
        ("raw_data", "flowers"),
        ("submission", "1.5"),
        ("submission", "1 OR 1=1"),
        ("raw_data", "9" * 2000),
    ],
)
def test_bad_filters_are_refused(api: Api, route: str, field: str, value: str) -> None:
    answer = api.ask(route, **{field: value})
    assert answer.status_code == 400
    assert list(answer.json()) == [field]


@every_fold_list
def test_an_unknown_state_is_answered_with_those_that_there_are(api: Api, route: str) -> None:
    assert api.ask(route, state="DONE").json() == {
        "state": ["'DONE' is no state: use one of TODO, TRAINED, VALIDATED, TESTED, ERROR."]
    }


# --- many ----------------------------------------------------------------------------------------------

FOLDS = 100_000
FOLDS_EACH = 100  # of one submission


def multiply(row: Model, numbers: range, **changed: str) -> None:
    """Inserts copies of `row`, one for each number `n`; `changed` has SQL for the columns that differ."""
    table = row._meta.db_table
    columns = [field.column for field in row._meta.concrete_fields]
    values = [changed.get(column, f"template.{column}") for column in columns]
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM {table} template,"
            f" generate_series({numbers.start}, {numbers.stop - 1}, {numbers.step}) n"
            f" WHERE template.{row._meta.pk.column} = %s",
            [row.pk],
        )


@pytest.fixture
def _many_folds(api: Api) -> None:
    """100,000 folds of ten data sets, every other one tested, a thousand with predictions."""
    data_sets = [ready_data(api, name=f"data {n}") for n in range(10)]
    succeeded(post_fold(api, data_sets[0], 0, 0), log="fitted\n" * 10)
    fold = SubmissionFold.objects.get()
    data_of = f"(ARRAY{data_sets})[1 + mod(n, {len(data_sets)})]"
    multiply(fold.databoard_s, range(1, FOLDS // FOLDS_EACH), databoard_s_id="n", raw_data_id=data_of)
    job_id = "lpad(to_hex(n), 32, '0')::uuid"
    state = "CASE WHEN mod(n, 2) = 0 THEN 'succeeded' ELSE 'created' END"
    multiply(fold.job, range(1, FOLDS), id=job_id, state=state)
    submission = f"n / {FOLDS_EACH}"
    multiply(fold, range(1, FOLDS), databoard_sf_id="n", databoard_s_id=submission, job_id=job_id)
    multiply(fold.prediction, range(2, 1001, 2), fold_id="n")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def query_of_folds(api: Api, url: str) -> tuple[str, int, float]:
    """The one query on folds that `url` costs, how many rows it answers, and the seconds it takes."""
    with CaptureQueriesContext(connection) as captured:
        begin = time.perf_counter()
        answer = api.get(f"/runapp/{url}")
        seconds = time.perf_counter() - begin
    about_folds = [sql for each in captured if "submissionfold" in (sql := str(each["sql"]))]
    assert len(about_folds) == 1
    assert len(captured) <= 3  # who asks, in which roles, and what
    return about_folds[0], len(answer.json()), seconds


def plan_of(sql: str) -> str:
    """PostgreSQL's own account of how it answers `sql`, which may stand in a cursor's declaration."""
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN " + sql[sql.index("SELECT") :])
        return "\n".join(line for (line,) in cursor.fetchall())


@pytest.mark.usefixtures("_many_folds")
def test_lists_of_100_000_folds_cost_one_query_and_no_prediction_bytes(
    api: Api, record_property: Callable[[str, object], None]
) -> None:
    data_3 = RawData.objects.get(name="data 3").pk
    from_an_index = {
        "submissionfold/?limit=100": 100,
        "submissionfold-light/?limit=100&offset=100": 100,
        "submissionfold/?submission=500": FOLDS_EACH,
    }
    from_many_folds = {
        f"submissionfold/?limit=100&offset={FOLDS - 50}": 50,
        "submissionfold-light/?state=TESTED&limit=10": 10,
        "submissionfold/": FOLDS,
        "submissionfold-light/": FOLDS,
        "submissionfold-light/?state=TESTED": FOLDS // 2,
        f"submissionfold-light/?raw_data={data_3}": FOLDS // 10,
    }
    for url, expected in (from_an_index | from_many_folds).items():
        sql, rows, seconds = query_of_folds(api, url)
        record_property(f"seconds of {url}", round(seconds, 3))
        assert rows == expected
        assert not any(name in sql for name in ("runapp_prediction", "runapp_blob"))
        if url in from_an_index:
            assert "Seq Scan on runapp_submissionfold" not in plan_of(sql)
