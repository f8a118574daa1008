"""The pages. Who may see what is as in ``/api/v1/``; who is not logged in is asked to."""

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any, cast

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from runapp.models import Part, RawData, Submission, SubmissionFold
from runapp.services import catalogue, leaderboard, reports, roles, scores
from runapp.services.leaderboard import Wanted
from runapp.services.roles import Roles

from . import curve

_ROWS = 100  # of a page
_LOG_LINES = 60
#: Logs are hostile: should one ever get out of its `pre`, the browser still runs nothing.
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

View = Callable[..., HttpResponse]


def _page(allowed: Roles) -> Callable[[View], View]:
    """A view of those who have one of these roles, whose refusals are pages too."""

    def decorate(view: View) -> View:
        @require_safe
        @login_required
        @wraps(view)
        def guarded(request: HttpRequest, **named: Any) -> HttpResponse:
            try:
                if not roles.of(request.user) & allowed:
                    raise PermissionDenied("Your role does not allow this: ask an admin for another one.")
                response = view(request, cast("User", request.user), **named)
            except (PermissionDenied, Http404) as error:
                status = 404 if isinstance(error, Http404) else 403
                response = render(request, "web/problem.html", {"text": str(error)}, status=status)
            response["Content-Security-Policy"] = _POLICY
            return response

        return guarded

    return decorate


@_page(roles.EVERYONE)
def home(request: HttpRequest, user: User) -> HttpResponse:
    """All data sets, the latest first."""
    rows = RawData.objects.select_related("owner").order_by("-pk")
    page = Paginator(rows, _ROWS).get_page(request.GET.get("page"))
    told = catalogue.data_sets(list(page))
    submitted = Submission.objects.filter(raw_data__in=[each["id"] for each in told], whole=True)
    numbers = dict(submitted.order_by().values_list("raw_data").annotate(Count("pk")))
    sets = [each | {"submissions": numbers.get(each["id"], 0)} for each in told]
    return render(request, "web/home.html", {"sets": sets, "page": page})


@_page(roles.EVERYONE)
def data_set(request: HttpRequest, user: User, dataset: str) -> HttpResponse:
    """A data set, and its leaderboard by the official metric."""
    row = catalogue.named(dataset).select_related("owner").first()
    if row is None:
        raise Http404(f"There is no data set {dataset!r}.")
    (told,) = catalogue.data_sets([row])
    number = Submission.objects.filter(raw_data=row, whole=True).count()
    page = Paginator(range(number), _ROWS).get_page(request.GET.get("page"))
    parts = reports.parts_for(user, row)
    board = leaderboard.read(row, Wanted(parts, _ROWS, max(0, page.start_index() - 1)))
    rows = leaderboard.hide_failures(user, row, board["submissions"])
    mine = roles.submissions_for(user, roles.of(user)).filter(pk__in=[each["id"] for each in rows])
    open_to_user = set(mine.values_list("pk", flat=True)) if roles.of(user) & roles.SUBMITTERS else set()
    for each in rows:
        each["test"] = each["scores"].get(board["official"], {}).get(Part.TEST)
        each["linked"] = each["id"] in open_to_user
    context = {"set": told, "board": board, "rows": rows, "page": page, "shows_test": Part.TEST in parts}
    return render(request, "web/dataset.html", context)


@_page(roles.SUBMITTERS)
def submission(request: HttpRequest, user: User, submission: int) -> HttpResponse:
    """A submission: its scores, the curve of bagging, its folds. It loads itself again until all has ended."""
    seen = roles.submissions_for(user, roles.of(user)).select_related("raw_data", "owner")
    row = seen.filter(pk=submission).first()
    if row is None:
        raise Http404(f"There is no submission {submission}, or none that you may see.")
    (told,) = catalogue.submissions(user, [row], explain=True)
    parts, official = reports.parts_for(user, row.raw_data), next(iter(scores.directions(row.raw_data)), "")
    together, bagging = reports.together(row, parts), reports.bagging(row)
    curves = {each["part"]: each["curve"] for each in together if each["metric"] == official}
    folds = row.submissionfold_set.select_related("job", "cv_fold", "databoard_s__raw_data")
    page = Paginator(folds.order_by("cv_fold__number", "pk"), _ROWS).get_page(request.GET.get("page"))
    context = {
        "submission": told,
        "data_set": row.raw_data,
        "official": official,
        "parts": parts,
        "together": together,
        "bagging": bagging,
        "curve": curve.drawn({part: values for part, values in curves.items() if values}),
        "folds": _folds(user, list(page), parts, official),
        "page": page,
        "unfinished": told["state"] in ("waiting", "running")
        or (bagging is not None and bagging["state"] in ("created", "queued", "running")),
    }
    return render(request, "web/submission.html", context)


def _folds(
    user: User, rows: list[SubmissionFold], parts: Collection[Part], official: str
) -> list[dict[str, Any]]:
    shown = []
    for row, told in zip(rows, catalogue.folds(user, rows), strict=True):
        values = [told["scores"].get(part, {}).get(official) for part in parts]
        tail = "\n".join(row.job.log.splitlines()[-_LOG_LINES:]) if told["failure"] else ""
        shown.append(told | {"values": values, "log": tail})
    return shown
