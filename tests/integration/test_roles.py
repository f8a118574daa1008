"""Who is let in where: every route of the URL configuration, with every method it has, for every role.

A route that is not in the table fails, and so does a rule without a route.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from django.contrib.auth.models import User
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.test import APIClient
from rest_framework.views import APIView

from runapp.models import AccessToken, Submission, Upload
from runapp.services import roles
from runapp.services.roles import Role
from tests.integration.helpers import organiser, post_fold, ready_data, succeeded

pytestmark = pytest.mark.django_db

#: Who asks. The participant has submitted to the organiser's data set, the others have nothing to do with it.
STRANGER, PARTICIPANT, OTHER_PARTICIPANT = "stranger", "participant", "other participant"
ORGANISER, OTHER_ORGANISER, OPERATOR, ADMIN = "organiser", "other organiser", "operator", "admin"
ROLES = {
    PARTICIPANT: Role.PARTICIPANT,
    OTHER_PARTICIPANT: Role.PARTICIPANT,
    ORGANISER: Role.ORGANISER,
    OTHER_ORGANISER: Role.ORGANISER,
    OPERATOR: Role.OPERATOR,
    ADMIN: Role.ADMIN,
}

Rule = frozenset[str]
NOBODY: Rule = frozenset()
USERS: Rule = frozenset(ROLES)
EVERYBODY = USERS | {STRANGER}
ADMINS: Rule = frozenset({ADMIN})
ORGANISERS = ADMINS | {ORGANISER, OTHER_ORGANISER}
OPERATORS = ADMINS | {OPERATOR}
SUBMITTERS = USERS - {OPERATOR}
#: Of what belongs to the participant alone.
ITS_USER: Rule = frozenset({PARTICIPANT})
#: Of a submission of the participant to a data set of the organiser.
CONCERNED = ADMINS | {PARTICIPANT, ORGANISER}
#: Of the organiser's data set.
ITS_ORGANISER = ADMINS | {ORGANISER}

#: Route → method → who is let in.
RULES: dict[str, dict[str, Rule]] = {
    "": {"get": USERS},
    "login/": {"get": EVERYBODY},
    "logout/": {"get": EVERYBODY},
    "datasets/<str:dataset>/": {"get": USERS},
    "submissions/<int:submission>/": {"get": CONCERNED},
    "healthz": {"get": EVERYBODY},
    "readyz": {"get": EVERYBODY},
    "metrics": {"get": EVERYBODY},
    "openapi.json": {"get": ADMINS},
    "docs/": {"get": ADMINS},
    "blobs/<str:sha256>": {"get": NOBODY, "put": NOBODY},  # runners only
    "runapp/rawdata/": {"get": ORGANISERS, "post": ORGANISERS},
    "runapp/rawdata/split/": {"post": ORGANISERS},
    "runapp/rawdata/customsplit/": {"post": ORGANISERS},
    "runapp/rawdata/<int:pk>/cancel/": {"post": ORGANISERS},
    "runapp/rawdata/<int:pk>/metrics/": {"post": ITS_ORGANISER},
    "runapp/rawdata/<int:pk>/leaderboard/": {"get": ORGANISERS},
    "runapp/rawdata/<int:pk>/close/": {"post": ITS_ORGANISER},
    "runapp/rawdata/<int:pk>/open/": {"post": ITS_ORGANISER},
    "runapp/kit/": {"post": ORGANISERS},
    "runapp/submission/": {"get": ORGANISERS, "post": ORGANISERS},
    "runapp/submission/<int:pk>/": {"get": ORGANISERS},
    "runapp/runners/": {"get": ORGANISERS},
    "runapp/submissionfold/": {"get": ORGANISERS, "post": ORGANISERS},
    "runapp/submissionfold/<int:pk>/": {"get": ORGANISERS},
    "runapp/submissionfold/<int:pk>/cancel/": {"post": ORGANISERS},
    "runapp/submissionfold/<int:pk>/rerun/": {"post": ORGANISERS},
    "runapp/submissionfold/<int:pk>/attempts/": {"get": ORGANISERS},
    "runapp/submissionfold/<int:pk>/record/": {"get": ORGANISERS},
    "runapp/submissionfold/<int:pk>/replay/": {"get": ORGANISERS, "post": ORGANISERS},
    "runapp/submissionfold/<int:pk>/log/": {"get": ORGANISERS},
    "runapp/submission/<int:pk>/cancel/": {"post": ORGANISERS},
    "runapp/submission/<int:pk>/rerun/": {"post": ORGANISERS},
    "runapp/submission/<int:pk>/waiting/": {"get": ORGANISERS},
    "runapp/submissionfold-light/": {"get": ORGANISERS},
    "runapp/testpredictions/list/": {"post": ORGANISERS},
    "runapp/testpredictions/new/": {"post": ORGANISERS},
    "api/v1/": {"get": EVERYBODY},
    "api/v1/tokens/": {"get": USERS, "post": USERS},
    "api/v1/tokens/<int:token>/": {"delete": ITS_USER},
    "api/v1/uploads/": {"post": SUBMITTERS},
    "api/v1/uploads/<uuid:upload>/": {"get": ITS_USER, "patch": ITS_USER, "delete": ITS_USER},
    "api/v1/users/me/": {"get": USERS},
    "api/v1/datasets/": {"get": USERS, "post": ORGANISERS},
    "api/v1/datasets/<str:dataset>/": {"get": USERS, "patch": ITS_ORGANISER, "delete": ITS_ORGANISER},
    "api/v1/datasets/<str:dataset>/close/": {"post": ITS_ORGANISER},
    "api/v1/datasets/<str:dataset>/open/": {"post": ITS_ORGANISER},
    "api/v1/datasets/<str:dataset>/leaderboard/": {"get": USERS},
    "api/v1/datasets/<str:dataset>/submissions/": {"get": SUBMITTERS, "post": SUBMITTERS},
    "api/v1/submissions/": {"get": SUBMITTERS},
    "api/v1/submissions/<int:submission>/": {"get": CONCERNED, "delete": CONCERNED},
    "api/v1/submissions/<int:submission>/cancel/": {"post": CONCERNED},
    "api/v1/submissions/<int:submission>/rerun/": {"post": CONCERNED},
    "api/v1/submissions/<int:submission>/folds/": {"get": CONCERNED},
    "api/v1/submissions/<int:submission>/files/": {"get": CONCERNED},
    "api/v1/submissions/<int:submission>/files/<path:name>": {"get": CONCERNED},
    "api/v1/folds/<int:fold>/": {"get": CONCERNED},
    "api/v1/folds/<int:fold>/attempts/": {"get": CONCERNED},
    "api/v1/folds/<int:fold>/log/": {"get": CONCERNED},
    "api/v1/folds/<int:fold>/record/": {"get": CONCERNED},
    "api/v1/folds/<int:fold>/replay/": {"get": CONCERNED, "post": CONCERNED},
    "api/v1/folds/<int:fold>/cancel/": {"post": CONCERNED},
    "api/v1/folds/<int:fold>/rerun/": {"post": CONCERNED},
    "api/v1/folds/<int:fold>/predictions/<str:part>": {"get": CONCERNED},
    "api/v1/runners/": {"get": OPERATORS},
    "api/v1/jobs/": {"get": OPERATORS},
    "api/v1/jobs/<uuid:job>/": {"get": OPERATORS},
}
#: Below here Django decides: staff, or to the login page.
ADMIN_PAGES = "admin/"
OPEN_ADMIN_PAGES = {"admin/login/", "admin/logout/", "admin/jsi18n/"}

METHODS = ("get", "post", "put", "patch", "delete")


class Operation(NamedTuple):
    method: str
    route: str

    def __str__(self) -> str:
        return f"{self.method} {self.route}"


def patterns(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for each in resolver.url_patterns:
        route = prefix + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from patterns(each, route)
        else:
            yield route, each


def methods(pattern: URLPattern) -> set[str]:
    view = getattr(pattern.callback, "view_class", object)
    if not issubclass(view, APIView):
        return {"get"}
    return {method for method in METHODS if hasattr(view, method)}


ALL = list(patterns(get_resolver()))
OPERATIONS = [
    Operation(method, route)
    for route, pattern in ALL
    if not route.startswith(ADMIN_PAGES)
    for method in sorted(methods(pattern))
]
PAGES = [route for route, _ in ALL if route.startswith(ADMIN_PAGES) and route not in OPEN_ADMIN_PAGES]


@pytest.fixture
def ids() -> dict[str, object]:
    """The participant's fold, submission and so on: what the converters of the routes stand for."""
    api = organiser(ORGANISER)
    raw_data = ready_data(api)
    job = post_fold(api, raw_data, raw_data, raw_data)  # so that one id names them all
    succeeded(job)
    participant = User.objects.create_user(PARTICIPANT)
    Submission.objects.update(owner=participant)
    token = AccessToken.objects.create(user=participant, name="x", sha256="x", expires_at="2100-01-01T00:00Z")
    upload = Upload.objects.create(owner=participant, size=1, sha256="0" * 64)
    return {
        **dict.fromkeys(("pk", "dataset", "submission", "fold"), raw_data),
        "job": job,
        "name": "classifier.py",
        "part": "train",
        "sha256": "0" * 64,
        "token": token.pk,
        "upload": upload.pk,
    }


def client(who: str) -> APIClient:
    asks = APIClient(raise_request_exception=False)
    if who != STRANGER:
        user, _ = User.objects.get_or_create(username=who)
        roles.give(user, ROLES[who])
        asks.force_login(user)
    return asks


def is_let_in(who: str, method: str, path: str) -> bool:
    """Whether it is the view that answers, not whoever guards it."""
    answer: Any = client(who).generic(method.upper(), "/" + path, "{}", content_type="application/json")
    assert answer.status_code < 500, answer.content
    if who == STRANGER and path.startswith(("api/", "runapp/")) and answer.status_code not in (200, 201):
        assert answer.status_code == 401  # not even whether there is such a thing
    if answer.status_code == 302:
        return not answer.headers["Location"].startswith(("/admin/login", "/login"))
    return answer.status_code not in (401, 403, 404)


def filled(route: str, ids: dict[str, object]) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", lambda match: str(ids[match[1]]), route)


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_each_role_is_let_in_where_the_table_says(operation: Operation, ids: dict[str, object]) -> None:
    rule = RULES[operation.route][operation.method]
    path = filled(operation.route, ids)
    # Those who change something come last, those who may not have changed nothing.
    order = sorted(EVERYBODY, key=lambda who: (who in rule, who))
    let_in = set()
    for who in order:
        if who in rule and operation.method == "delete" and let_in:
            continue  # gone already
        if is_let_in(who, operation.method, path):
            let_in.add(who)
    expected = {min(rule)} if operation.method == "delete" and rule else rule
    assert let_in == expected


def test_every_rule_has_a_route() -> None:
    ruled = {Operation(method, route) for route, rules in RULES.items() for method in rules}
    assert ruled == set(OPERATIONS)


@pytest.mark.parametrize("route", PAGES)
def test_the_admin_pages_are_for_admins(route: str) -> None:
    path = re.sub(r"<[^>]+>", "1", route).replace("(?P1.*)$", "x")
    assert [who for who in sorted(EVERYBODY - ADMINS) if is_let_in(who, "get", path)] == []
