"""What operators look at: runners and jobs. No code, no predictions, and no text that quotes either."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from datarun.contract import queues
from datarun.contract.failures import RETRIED
from datarun.contract.states import JobKind, JobState
from runapp import states
from runapp.api.serializers import RunnerOut
from runapp.models import Job
from runapp.services import roles, runners, versions, waiting
from runapp.services.errors import BadInput

from .base import View, page_of
from .described import LIST, answers
from .shapes import JobOut

_FILTERS = {
    "state": [state.value for state in JobState],
    "queue": list(queues.ORDER_QUEUES),
    "kind": [kind.value for kind in JobKind],
}


class Runners(View):
    roles = roles.OPERATORS

    @extend_schema(parameters=LIST, responses=answers({200: page_of(RunnerOut)}, paged=True))
    def get(self, request: Request) -> Response:
        """All runners, by name: whether they live, what they serve, and what they run now."""
        return self.page(runners.known(), RunnerOut, "name")


class Jobs(View):
    roles = roles.OPERATORS

    @extend_schema(
        operation_id="jobs_list",
        parameters=[*LIST, *(OpenApiParameter(name, str, enum=known) for name, known in _FILTERS.items())],
        responses=answers({200: page_of(JobOut)}, paged=True),
    )
    def get(self, request: Request) -> Response:
        """All jobs, the latest first."""
        return self.page(_filtered(request), JobOut, "-created_at", shown=_told)


class OneJob(View):
    roles = roles.OPERATORS

    @extend_schema(responses=answers({200: JobOut}, named=True, etag=True))
    def get(self, request: Request, job: UUID) -> Response:
        """One job, and why it waits if it does."""
        row = self.one(Job.objects.select_related("owner"), "job", pk=job)
        version = versions.of(Job.objects.filter(pk=job))
        waits = row.state in states.WAITING
        if answer := self.unchanged(version, versions.now() if waits else ""):
            return answer
        reason = waiting.explain(row)
        (told,) = _told([row])
        return Response(JobOut(told | {"waiting": reason and reason.text}).data)


def _filtered(request: Request) -> QuerySet[Job]:
    jobs = Job.objects.select_related("owner")
    for name, known in _FILTERS.items():
        if (given := request.query_params.get(name)) is not None:
            if given not in known:
                raise BadInput(name, f"It is one of {', '.join(known)}.")
            jobs = jobs.filter(**{name: given})
    return jobs


def _told(rows: Sequence[Job]) -> list[dict[str, Any]]:
    return [
        {
            "id": row.pk,
            "kind": row.kind,
            "queue": row.queue,
            "state": row.state,
            "stage": row.stage,
            "attempt": row.attempt,
            "runner": row.runner or None,
            "failure": row.failure or None,
            "message": row.message if row.failure in RETRIED else None,
            "fold": row.databoard_sf_id,
            "user": row.owner.username if row.owner else None,
            "waiting": None,
            "created_at": row.created_at,
            "queued_at": row.queued_at,
            "started_at": row.started_at,
            "finished_at": row.finished_at,
        }
        for row in rows
    ]
