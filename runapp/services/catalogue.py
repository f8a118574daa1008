"""What people are shown of data sets, submissions and folds, a page of rows at a time: a few queries, however many."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from datarun.contract.elements import parse_elements
from datarun.contract.messages import MEASURES
from datarun.contract.metrics import lower_is_better
from datarun.contract.states import TERMINAL_STATES, JobState, Stage
from runapp import states
from runapp.models import (
    CVFold,
    Ensemble,
    Job,
    Part,
    PreparedData,
    RawData,
    Submission,
    SubmissionFold,
    SubmissionScore,
)

from . import reports, scores, submitting, versions, waiting
from .errors import BadInput

#: What a list explains of what waits: each reason takes some queries.
_EXPLAINED = 10

_FOLD_STATES = {
    JobState.CREATED: "waiting",
    JobState.QUEUED: "waiting",
    JobState.RUNNING: "running",
    JobState.SUCCEEDED: "done",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
}
FOLD_STATES = tuple(dict.fromkeys(_FOLD_STATES.values()))
SUBMISSION_STATES = ("waiting", "running", "scored", "partial", "failed", "cancelled")
DATASET_KINDS = ("csv", "custom", "kit")
DATASET_STATES = ("preparing", "ready", "failed", "closed")


# --- data sets -----------------------------------------------------------------------------------------


def data_sets(rows: Sequence[RawData]) -> list[dict[str, Any]]:
    """With owner."""
    current = {
        version.raw_data_id: version
        for version in PreparedData.objects.filter(raw_data__in=rows)
        .order_by("raw_data", "-requested_at")
        .distinct("raw_data")
        .select_related("job")
    }
    cut = dict(
        CVFold.objects.filter(prepared__in=current.values())
        .values("prepared")
        .annotate(number=Count("pk"))
        .values_list("prepared", "number")
    )
    return [_data_set(row, current.get(row.pk), cut) for row in rows]


def named(name: str) -> QuerySet[RawData]:
    """The data set with this id, or with this name; at most one."""
    if "\0" in name:
        return RawData.objects.none()
    if name.isascii() and name.isdigit() and len(name) < 19:
        by_id = RawData.objects.filter(pk=int(name))
        if by_id.exists():
            return by_id
    return RawData.objects.filter(name=name)


def data_set_version(row: RawData) -> str:
    """Changes when what is shown of the data set changes."""
    jobs = Job.objects.filter(prepareddata__raw_data=row)
    return versions.of(RawData.objects.filter(pk=row.pk), row.versions.all(), jobs)


def _data_set(row: RawData, version: PreparedData | None, cut: Mapping[int, int]) -> dict[str, Any]:
    job = None if version is None else version.job
    return {
        "id": row.pk,
        "name": row.name,
        "kind": "kit" if row.kit else "custom" if row.module else "csv",
        "state": _data_set_state(row, version),
        "problem": job.message if job is not None and job.state in _BAD else None,
        "owner": row.owner.username if row.owner else None,
        "target_column": row.target_column or None,
        "elements": list(parse_elements(row.workflow_elements)),
        "metrics": _metrics(row, version),
        "cv": row.cv,
        "held_out_test": version and version.held_out_test,
        "random_state": version and version.random_state,
        "n_train": version and version.n_train,
        "n_test": version and version.n_test,
        "n_folds": version and cut.get(version.pk),
        "time_limit": row.time_limit,
        "soft_time_limit": row.soft_time_limit,
        "limits": row.limits,
        "files": sorted(row.files),
        "created_at": row.created_at,
        "closed_at": row.closed_at,
    }


_BAD = (JobState.FAILED, JobState.CANCELLED)


def _data_set_state(row: RawData, version: PreparedData | None) -> str:
    if row.closed_at is not None:
        return "closed"
    if version is None or version.job.state not in TERMINAL_STATES:
        return "preparing"
    return "ready" if version.job.state == JobState.SUCCEEDED else "failed"


def _metrics(row: RawData, version: PreparedData | None) -> list[dict[str, Any]]:
    if not row.kit:
        return [{"name": name, "lower_is_better": lower_is_better(name)} for name in row.metrics]
    known = [] if version is None else version.facts.get("metrics", [])
    return [{name: metric[name] for name in ("name", "lower_is_better")} for metric in known]


# --- submissions ---------------------------------------------------------------------------------------


def submissions(user: User, rows: Sequence[Submission], explain: bool = False) -> list[dict[str, Any]]:
    """With data set and owner; `explain` says of each why it waits, which a long list leaves out."""
    ids = [row.pk for row in rows]
    counts, together, bagging = _counts(ids), _together(rows, user), _baggings(ids)
    shown = []
    for row in rows:
        folds = dict.fromkeys(("done", "failed", "running", "waiting", "total"), 0) | counts.get(row.pk, {})
        cancelled = folds.pop("cancelled", 0)
        failure = submitting.failure_of(row) if not folds["total"] else None
        bags = bagging.get(row.pk)
        state = _submission_state(folds, cancelled, failure, bags is not None)
        reason = None
        if explain and state in ("waiting", "running"):
            reason = submitting.waits_for(row) or (waiting.explain(bags.job) if bags and bags.job else None)
        folds["failed"] += cancelled
        shown.append(
            {
                "id": row.pk,
                "name": row.name,
                "dataset": row.raw_data.name,
                "user": row.owner.username if row.owner else None,
                "state": state,
                "folds": folds,
                "scores": together.get(row.pk, {}),
                "waiting": None if reason is None else reason.text,
                "failure": reports.explained(*failure) if failure else None,
                "queue": row.priority,
                "created_at": row.created_at,
            }
        )
    return shown


def in_state(rows: QuerySet[Submission], state: str) -> QuerySet[Submission]:
    """Those of the rows that are in one of `SUBMISSION_STATES`, as far as their folds tell."""
    if state not in SUBMISSION_STATES:
        raise BadInput("state", f"It is one of {', '.join(SUBMISSION_STATES)}.")
    has = {name: Exists(_folds_in(*states_)) for name, states_ in _BY_KIND.items()}
    some = has["waiting"] | has["running"] | has["done"] | has["failed"] | has["cancelled"]
    unfinished = has["waiting"] | has["running"]
    ended_well_or_not = has["done"] | has["failed"] | has["cancelled"]
    if state == "running":
        return rows.filter(has["running"] | (has["waiting"] & ended_well_or_not))
    if state == "waiting":
        return rows.filter(
            (has["waiting"] & ~has["running"] & ~ended_well_or_not) | (~some & Q(folds_made=False))
        )
    rows = rows.filter(~unfinished)
    if state == "scored":
        return rows.filter(has["done"] & ~has["failed"] & ~has["cancelled"])
    if state == "partial":
        return rows.filter(has["done"] & (has["failed"] | has["cancelled"]))
    if state == "failed":
        return rows.filter(~has["done"] & has["failed"])
    return rows.filter(~has["done"] & ~has["failed"] & (has["cancelled"] | Q(folds_made=True)))


_BY_KIND = {name: [state for state, kind in _FOLD_STATES.items() if kind == name] for name in FOLD_STATES}


def _folds_in(*states_: str) -> QuerySet[SubmissionFold]:
    return SubmissionFold.objects.filter(databoard_s=OuterRef("pk"), job__state__in=states_)


def submission_version(row: Submission) -> str:
    """Changes when what is shown of the submission and of its folds changes; what waits, every few seconds."""
    folds = SubmissionFold.objects.filter(databoard_s=row)
    version = versions.of(
        Submission.objects.filter(pk=row.pk),
        RawData.objects.filter(pk=row.raw_data_id),
        _jobs_of(folds),
        SubmissionScore.objects.filter(submission=row),
        Ensemble.objects.filter(submission=row),
    )
    ended = row.folds_made and not folds.filter(job__state__in=states.WAITING).exists()
    return version if ended else f"{version}.{versions.now()}"


def _jobs_of(folds: QuerySet[SubmissionFold]) -> QuerySet[Job]:
    return Job.objects.filter(submissionfold__in=folds)


def _submission_state(
    folds: Mapping[str, int], cancelled: int, failure: tuple[str, str] | None, bags: bool
) -> str:
    if not folds["total"]:
        return "waiting" if failure is None else "failed" if failure[0] else "cancelled"
    if folds["running"] or (folds["waiting"] and folds["waiting"] < folds["total"]):
        return "running"
    if folds["waiting"]:
        return "waiting"
    if folds["done"] == folds["total"]:
        return "running" if bags else "scored"
    if folds["done"]:
        return "partial"
    return "cancelled" if cancelled == folds["total"] else "failed"


def _counts(ids: Collection[int]) -> dict[int, dict[str, int]]:
    """submission → fold state → number, and `total`."""
    found: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    rows = SubmissionFold.objects.filter(databoard_s__in=ids).values("databoard_s", "job__state")
    for id, state, number in rows.annotate(number=Count("pk")).values_list(
        "databoard_s", "job__state", "number"
    ):
        found[id][_FOLD_STATES[JobState(state)]] += number
        found[id]["total"] += number
    return {id: dict(numbers) for id, numbers in found.items()}


def _together(rows: Sequence[Submission], user: User) -> dict[int, dict[str, dict[str, Any]]]:
    """submission → part → metric → mean, std and bagged, of the parts that the user may see."""
    parts = {row.raw_data_id: reports.parts_for(user, row.raw_data) for row in rows}
    wanted = Q(pk__in=[])
    for row in rows:
        wanted |= Q(submission=row.pk, part__in=parts[row.raw_data_id])
    found: dict[int, dict[str, dict[str, Any]]] = {}
    fields = ("submission", "part", "metric", "mean", "std", "bagged")
    order = {part: number for number, part in enumerate(Part)}
    values = SubmissionScore.objects.filter(wanted).order_by("pk").values_list(*fields)
    for id, part, metric, *numbers in sorted(values, key=lambda each: order[Part(each[1])]):
        named = dict(zip(("mean", "std", "bagged"), scores.storable(numbers), strict=True))
        found.setdefault(id, {}).setdefault(part, {})[metric] = named
    return found


def _baggings(ids: Collection[int]) -> dict[int, Ensemble]:
    """Those of these submissions that are yet to come for the first time, by submission."""
    bagged = SubmissionScore.objects.filter(submission__in=ids, bagged__isnull=False).values("submission")
    to_come = Ensemble.objects.filter(submission__in=ids, job__state__in=states.UNFINISHED)
    found = to_come.exclude(submission__in=bagged).select_related("job")
    return {each.submission_id: each for each in found if each.submission_id is not None}


# --- folds ---------------------------------------------------------------------------------------------


def folds(user: User, rows: Sequence[SubmissionFold]) -> list[dict[str, Any]]:
    """With job, `cv_fold` and the submission with its data set; the first of them say why they wait."""
    by_parts: dict[tuple[Part, ...], list[int]] = defaultdict(list)
    for row in rows:
        by_parts[tuple(reports.parts_for(user, row.databoard_s.raw_data))].append(row.pk)
    values: dict[int, Any] = {}
    for parts, ids in by_parts.items():
        values |= reports.scores_of(ids, parts)
    explained, shown = 0, []
    for row in rows:
        job, reason = row.job, None
        if job.state in states.WAITING and explained < _EXPLAINED:
            explained, reason = explained + 1, waiting.explain(job)
        shown.append(
            {
                "id": row.pk,
                "submission": row.databoard_s_id,
                "number": None if row.cv_fold is None else row.cv_fold.number,
                "state": _FOLD_STATES[JobState(job.state)],
                "stage": job.stage if job.state == JobState.RUNNING else Stage.STARTED.value,
                "failure": job.failure or None,
                "message": job.message,
                "scores": values.get(row.pk, {}),
                "times": {name: getattr(job, name) for name in MEASURES},
                "attempt": job.attempt,
                "runner": job.runner or None,
                "waiting": None if reason is None else reason.text,
                "queue": row.priority,
                "job": str(job.pk),
                "created_at": job.created_at,
                "started_at": job.started_at,
                "finished_at": job.finished_at,
            }
        )
    return shown


def fold_version(row: SubmissionFold) -> str:
    """Changes when what is shown of the fold changes; if it waits, every few seconds."""
    mine = SubmissionFold.objects.filter(pk=row.pk)
    version = versions.of(
        mine, _jobs_of(mine), row.score_set.all(), RawData.objects.filter(submission__submissionfold=row)
    )
    return f"{version}.{versions.now()}" if row.job.state in states.WAITING else version
