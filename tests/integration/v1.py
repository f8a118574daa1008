"""What tests of ``/api/v1/`` share: a client with a token, and what a problem looks like."""

import json
from typing import Any

from django.contrib.auth.models import User
from rest_framework.test import APIClient

from runapp.services import roles, tokens
from runapp.services.roles import Role

#: What Django's test client answers.
Answer = Any

PASSWORD = "a long and good password"


class V1(APIClient):
    """A client below ``/api/v1/``."""

    def ask(self, route: str, /, **query: str | float) -> Answer:
        return self.get(f"/api/v1/{route}", query)

    def send(self, route: str, body: object = None, /, **headers: str) -> Answer:
        """Posts `body` as JSON, with these headers (`HTTP_…`)."""
        return self.post(
            f"/api/v1/{route}", json.dumps(body or {}), content_type="application/json", **headers
        )


def user(name: str, role: Role = Role.PARTICIPANT) -> V1:
    """A client with a token of the user `name`, who is created if missing."""
    who = User.objects.filter(username=name).first()
    if who is None:
        who = User.objects.create_user(name, f"{name}@example.org", PASSWORD)
    roles.give(who, role)
    api = V1()
    api.credentials(HTTP_AUTHORIZATION=f"Token {tokens.create(who, 'test', 1).text}")
    return api


def problem(answer: Answer, status: int) -> dict[str, Any]:
    """What is said of what went wrong, which has the form of RFC 9457."""
    assert answer.status_code == status, answer.content
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Datarun-Version"]
    said: dict[str, Any] = answer.json()
    assert set(said) >= {"type", "title", "status", "detail"}
    assert said["status"] == status
    assert said["type"].startswith("/problems/")
    assert said["detail"]
    for error in said.get("errors", []):
        assert set(error) == {"field", "message"}
    return said
