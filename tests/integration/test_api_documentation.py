"""The interactive documentation: true, whole, offline, and only for people who logged in at the admin page."""

import json
import re
from io import StringIO
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from drf_spectacular.validation import validate_schema

from runapp.api.urls import urlpatterns
from runapp.api.v1.urls import urlpatterns as v1_urlpatterns
from tests.integration.helpers import organiser

pytestmark = pytest.mark.django_db

SCHEMES = ["basicAuth", "tokenAuth", "cookieAuth", "accessToken"]
PAGES = ["/docs/", "/openapi.json"]
every_page = pytest.mark.parametrize("page", PAGES)


def logged_in(**rights: bool) -> Client:
    client = Client()
    client.force_login(User.objects.create(username="ada", **rights))
    return client


@pytest.fixture
def staff() -> Client:
    return logged_in(is_staff=True)


@pytest.fixture
def schema(staff: Client) -> dict[str, Any]:
    return dict(staff.get("/openapi.json").json())


@every_page
def test_strangers_are_sent_to_log_in(page: str) -> None:
    answer = Client().get(page)
    assert answer.status_code == 302
    assert answer.headers["Location"] == f"/admin/login/?next={page}"


@every_page
def test_users_who_may_not_enter_the_admin_page_are_sent_there_too(page: str) -> None:
    assert logged_in().get(page).status_code == 302


@every_page
def test_former_staff_is_sent_there_too(page: str, staff: Client) -> None:
    assert staff.get(page).status_code == 200
    User.objects.update(is_active=False)
    assert staff.get(page).status_code == 302


@every_page
def test_credentials_of_the_api_do_not_open_it(page: str) -> None:
    api = organiser("ada")
    User.objects.update(is_staff=True, is_superuser=True)
    assert api.get("/runapp/rawdata/").status_code == 200
    assert api.get(page).status_code == 302


@pytest.mark.parametrize("path", ["/docs", "/docs/x", "/openapi.json/", "/openapi", "/schema/", "/redoc/"])
def test_there_is_no_way_around(path: str) -> None:
    answer = Client().get(path, follow=True)
    assert b"swagger" not in answer.content.lower()
    assert b"openapi" not in answer.content.lower()


def test_it_takes_a_real_login() -> None:
    User.objects.create_superuser("ada", password="a long and good password")
    browser = Client()
    answer = browser.post(
        "/admin/login/?next=/docs/", {"username": "ada", "password": "a long and good password"}
    )
    assert answer.headers["Location"] == "/docs/"
    assert browser.get("/docs/").status_code == 200


# --- offline -------------------------------------------------------------------------------------------


def test_everything_that_the_page_loads_is_served_here(staff: Client) -> None:
    page = staff.get("/docs/").content.decode()
    urls = re.findall(r"""(?:src|href)\s*=\s*["']([^"']+)["']""", page)
    assert len(urls) >= 3  # style, script, icon
    for url in urls:
        assert urlsplit(url).netloc == "", url
        answer = Client().get(url)
        assert answer.status_code == 200, url
        assert len(b"".join(answer)) > 500, url
    assert re.findall(r"(?:https?:)?//[\w.-]+\.\w+", page) == []
    assert '"/openapi.json"' in page


def test_the_styles_load_nothing_from_elsewhere(staff: Client) -> None:
    page = staff.get("/docs/").content.decode()
    (style,) = re.findall(r'href="([^"]+\.css)"', page)
    css = b"".join(Client().get(style)).decode()
    loaded = re.findall(r"url\(\s*[\"']?([^\"')]+)|@import\s+[\"']([^\"']+)", css)
    assert [url for pair in loaded for url in pair if url and not url.startswith("data:")] == []


# --- true and whole ------------------------------------------------------------------------------------


def test_the_schema_is_valid_openapi_3_without_a_warning() -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=StringIO())


def test_what_is_served_is_that_schema(schema: dict[str, Any]) -> None:
    validate_schema(schema)
    assert schema["openapi"].startswith("3.")
    assert schema["info"]["title"] == "datarun"


def test_every_route_of_the_api_is_documented_and_nothing_else(schema: dict[str, Any]) -> None:
    documented = {re.sub(r"{\w+}", "<>", path) for path in schema["paths"]}
    assert documented == {
        prefix + re.sub(r"<[\w:]+>", "<>", str(each.pattern))
        for prefix, routes in (("/runapp/", urlpatterns), ("/api/v1/", v1_urlpatterns))
        for each in routes
    }


def test_every_method_of_the_table_is_documented(schema: dict[str, Any]) -> None:
    methods = {path: set(operations) for path, operations in schema["paths"].items()}
    assert (
        methods.items()
        >= {
            "/runapp/rawdata/": {"get", "post"},
            "/runapp/rawdata/split/": {"post"},
            "/runapp/rawdata/customsplit/": {"post"},
            "/runapp/submissionfold/": {"get", "post"},
            "/runapp/submissionfold/{id}/": {"get"},
            "/runapp/submissionfold-light/": {"get"},
            "/runapp/testpredictions/list/": {"post"},
            "/runapp/testpredictions/new/": {"post"},
        }.items()
    )


def test_every_operation_says_what_it_does_and_who_may(schema: dict[str, Any]) -> None:
    basic, token, cookie, access = ({name: []} for name in SCHEMES)
    assert set(schema["components"]["securitySchemes"]) == set(SCHEMES)
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            assert operation["description"]
            if path.startswith("/runapp/"):
                assert operation["security"] == [basic, cookie, token]
            elif (path, method) == ("/api/v1/tokens/", "post"):
                assert operation["security"] == [basic, access, cookie]
            elif path != "/api/v1/":
                assert operation["security"] == [access, cookie]


def test_fields_are_documented_as_they_are(schema: dict[str, Any]) -> None:
    components = schema["components"]["schemas"]
    fold = components["SubmissionFoldIn"]
    assert set(fold["required"]) == {"databoard_sf_id", "databoard_s_id", "train_is", "test_is"}
    assert fold["properties"]["files"]["additionalProperties"]["type"] == "string"
    assert "base64" in fold["properties"]["train_is"]["description"]
    assert components["StateEnum"]["enum"] == ["TODO", "TRAINED", "VALIDATED", "TESTED", "ERROR"]
    assert set(components["PredictionsOut"]["properties"]) < set(
        components["SubmissionFoldOut"]["properties"]
    )


def test_the_documentation_tells_nothing_of_this_machine(schema: dict[str, Any]) -> None:
    assert not re.search(r"/(home|root|usr|tmp|var|work)/", json.dumps(schema))
