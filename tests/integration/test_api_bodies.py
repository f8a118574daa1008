"""Request bodies: one JSON object of a bounded size, without surprises; whatever comes, no answer is a 500."""

import json
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from tests.integration.helpers import (
    CODE,
    CSV,
    Api,
    accepted,
    data_body,
    organiser,
    pack,
    pack_indices,
    post_custom_data,
    post_data,
    post_fold,
    ready_data,
    refused,
    succeeded,
)

pytestmark = pytest.mark.django_db

POST_ROUTES = [
    "rawdata/",
    "rawdata/split/",
    "rawdata/customsplit/",
    "submissionfold/",
    "testpredictions/list/",
    "testpredictions/new/",
]
every_post_route = pytest.mark.parametrize("route", POST_ROUTES)


@pytest.fixture
def api() -> Api:
    return organiser()


@every_post_route
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b"{'name': 1}",
        b'{"name": 1,}',
        b'{"name": 1} more',
        b"\xff\xfe",
        b'{"name": "\xe9"}',
        b"\0",
        b"name=flowers",
        b'{"name": NaN}',
        b'{"name": -Infinity}',
        b'{"name": ' + b"9" * 5000 + b"}",
        b"[]",
        b'[{"name": 1}]',
        b'"text"',
        b"1",
        b"true",
        b"null",
    ],
)
def test_what_is_no_json_object_is_refused(api: Api, route: str, body: bytes) -> None:
    refused(api, route, body, "detail", "JSON")


@every_post_route
@pytest.mark.parametrize("depth", [20, 900, 1000, 100_000])
@pytest.mark.parametrize(("open", "close"), [("[", "]"), ('{"a":', "}")], ids=["lists", "objects"])
def test_deep_nesting_is_refused(api: Api, route: str, open: str, close: str, depth: int) -> None:
    body = f'{{"priority": {open * depth}{1}{close * depth}}}'
    refused(api, route, body, "detail")


@every_post_route
def test_a_field_is_not_sent_twice(api: Api, route: str) -> None:
    refused(api, route, '{"raw_data_id": 1, "raw_data_id": 2}', "raw_data_id", "twice")
    refused(api, route, '{"x": {"deep": {"a": 1, "a": 1}}}', "a", "twice")
    long = "a" * 1000
    refused(api, route, json.dumps({"x": 1})[:-1] + f', "{long}": 1, "{long}": 2}}', long[:255], "twice")


@every_post_route
def test_a_name_that_is_no_text_is_escaped_in_the_answer(api: Api, route: str) -> None:
    refused(api, route, r'{"\ud800": 1, "\ud800": 2}', r"\ud800", "twice")


@every_post_route
@pytest.mark.parametrize(
    "content_type",
    ["application/x-www-form-urlencoded", "text/plain", "application/octet-stream", "text/json"],
)
def test_other_content_types_are_refused(api: Api, route: str, content_type: str) -> None:
    answer = api.generic("POST", f"/runapp/{route}", '{"raw_data_id": 1}', content_type=content_type)
    assert answer.status_code == 415
    assert content_type in answer.json()["detail"]


@every_post_route
def test_forms_are_refused(api: Api, route: str) -> None:
    answer = api.post(f"/runapp/{route}", {"raw_data_id": "1"})
    assert answer.status_code == 415
    assert "multipart/form-data" in answer.json()["detail"]


def test_a_charset_may_be_named(api: Api) -> None:
    body = json.dumps(data_body(name="Zoé"), ensure_ascii=False)
    answer = api.generic("POST", "/runapp/rawdata/", body, content_type="application/json; charset=utf-8")
    assert accepted(answer)["name"] == "Zoé"


def test_fields_that_nobody_knows_are_left_alone(api: Api) -> None:
    accepted(api.send("rawdata/", data_body(note="from another client", id=7, owner=1)))


@every_post_route
def test_a_body_that_is_too_large_is_refused(api: Api, settings: Settings, route: str) -> None:
    settings.MAX_BODY = 1000
    refused(api, route, b'{"a": "' + b"x" * 1000 + b'"}', "detail", "1000 bytes", status=413)
    refused(api, route, b" " * 1001, "detail", "1000 bytes", status=413)


def test_a_body_may_be_exactly_as_large_as_allowed(api: Api, settings: Settings) -> None:
    body = json.dumps(data_body()).encode()
    settings.MAX_BODY = len(body)
    accepted(api.send("rawdata/", body))


# --- anything at all -----------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
NUMBER = st.one_of(
    st.integers(-3, 12),
    st.integers(),
    st.sampled_from([2**31, 2**32, 2**63 - 1, 2**63, -(2**63) - 1, 10**400]),
    st.floats(),
)
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBER, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=6,
)
INDICES = st.lists(st.integers(-1, 12), max_size=5).map(lambda rows: pack_indices(*rows))
PACKED = st.one_of(
    st.sampled_from([pack(CSV), pack(CODE), pack(b""), pack(b"a,y\n1\n"), pack(b"x ="), "eJw="]),
    st.binary(max_size=40).map(pack),
    TEXT,
)
FILES = st.dictionaries(
    st.one_of(st.sampled_from(["classifier.py", "a.csv", "regressor.py", "../x"]), TEXT), PACKED, max_size=3
)


def often(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly what belongs there, now and then anything."""
    return st.one_of(strategy, strategy, strategy, ANYTHING)


BODIES: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "rawdata/": {
        "name": often(st.sampled_from(["flowers", "new"])),
        "target_column": often(st.sampled_from(["y", "a"])),
        "workflow_elements": often(st.sampled_from(["classifier", "regressor, calibrator"])),
        "files": often(FILES),
    },
    "rawdata/split/": {
        "raw_data_id": often(st.integers(0, 4)),
        "held_out_test": often(st.floats(0, 1)),
        "random_state": often(st.integers(0, 2)),
    },
    "rawdata/customsplit/": {"raw_data_id": often(st.integers(0, 4))},
    "submissionfold/": {
        "databoard_sf_id": often(st.integers(0, 4)),
        "databoard_s_id": often(st.integers(0, 4)),
        "raw_data": often(st.integers(0, 4)),
        "files": often(st.one_of(st.just({"classifier.py": pack(CODE)}), FILES)),
        "train_is": often(INDICES),
        "test_is": often(INDICES),
        "priority": often(st.sampled_from(["L", "H"])),
        "force": often(st.sampled_from(["", "submission_fold", "submission, submission_fold"])),
    },
    "testpredictions/list/": {"list_submission_fold": often(st.lists(often(st.integers(0, 4)), max_size=4))},
    "testpredictions/new/": {"raw_data_id": often(st.one_of(st.none(), st.integers(0, 4)))},
}


@pytest.fixture
def data_sets(api: Api) -> list[int]:
    """Data sets with a tested fold, without a split, and with a custom module."""
    ready = ready_data(api)
    succeeded(post_fold(api, ready, 1, 1))
    return [ready, post_data(api, name="unprepared"), post_custom_data(api)]


@every_post_route
@hypothesis_settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_no_body_breaks_the_server(api: Api, data_sets: list[int], route: str, data: st.DataObject) -> None:
    fields = BODIES[route]
    body = data.draw(st.one_of(st.fixed_dictionaries({}, optional=fields), st.fixed_dictionaries(fields)))
    for field in {"raw_data_id", "raw_data"} & body.keys():
        if type(body[field]) is int and 0 <= body[field] < len(data_sets):
            body[field] = data_sets[body[field]]
    with transaction.atomic():
        answer = api.send(route, body)
        transaction.set_rollback(True)
    assert answer.status_code in {200, 201, 400}
    if answer.status_code == 400:
        for field, problem in answer.json().items():
            assert isinstance(problem, str if field == "detail" else list)
            assert all(isinstance(sentence, str) and sentence for sentence in problem)
