"""`/api/v1/` answers as its OpenAPI document says, whatever it is sent: no other status, shape or type, and no 500.

`bin/test --api` runs it. `API_EXAMPLES` sets how many requests are made up for each operation.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from django.contrib.auth.models import User
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, settings
from pytest_django import Settings
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from runapp.services import roles, tokens, uploads
from runapp.services.roles import Role
from tests.integration.helpers import folds_of, organiser, own_storage, ready_scored, score, start, submit

pytestmark = pytest.mark.django_db

EXAMPLES = int(os.environ.get("API_EXAMPLES", "10"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

load_all_checks()


@schemathesis.serializer("application/offset+octet-stream")
def _as_it_is(context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


_config = schemathesis.Config.from_dict({"generation": {"mode": "all"}})
schema = schemathesis.openapi.from_dict(
    SchemaGenerator().get_schema(request=None, public=True), config=_config
).include(path_regex="^/api/v1/")
schema.app = get_wsgi_application()


@pytest.fixture
def world(settings: Settings, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What there is to be found: parameter of a route → value; and the header that opens everything."""
    own_storage(settings, tmp_path / "blobs")
    settings.DIR_DATA, settings.FILE_UPLOAD_TEMP_DIR = tmp_path, tmp_path / "uploads"
    settings.SUBMITS_A_MINUTE = 10**6
    data_set = ready_scored(organiser("root"))
    user = User.objects.get(username="root")
    for role in Role:
        roles.give(user, role)
    token = tokens.create(user, "test", 1)
    submission = submit(organiser("root"), data_set)
    done, running, _ = folds_of(submission)
    score(done)
    start(str(running.job_id))
    upload = uploads.create(user, 10, hashlib.sha256(b"0123456789").hexdigest())
    # Django ends connections with requests; here all are in the test's one transaction.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield {
        "Authorization": f"Token {token.text}",
        "dataset": str(data_set),
        "submission": submission,
        "fold": done.pk,
        "job": str(done.job_id),
        "name": "classifier.py",
        "part": "train",
        "token": token.row.pk,
        "upload": str(upload.pk),
    }
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_answers_are_as_documented(case: schemathesis.Case, world: dict[str, Any]) -> None:
    for name in case.path_parameters or {}:
        if case.operation.method != "delete":
            case.path_parameters[name] = world[name]
    headers = {"Authorization": world["Authorization"]}
    case.call_and_validate(headers=headers, checks=CHECKS)
