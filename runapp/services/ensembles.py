"""Bagging and blending: when they run, and what they gave.

A bagging is wanted whenever a scored outcome of its submission is recorded, a blending whenever the bagging of a
complete submission has ended. Each has one job, which runs again for all that came while it ran. `wanted` counts
the reasons, and an order that is built takes them all (`done`): what is wanted after that is not lost.

Whoever locks several rows does so in this order: data set, jobs of folds, folds, submissions, ensembles and the
jobs of these.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Count, F, QuerySet
from django.db.models.functions import Now

from datarun.contract import queues
from datarun.contract.messages import Outcome
from datarun.contract.states import TERMINAL_STATES, JobKind, JobState
from runapp import states
from runapp.models import CVFold, Ensemble, Job, Part, RawData, SubmissionFold, SubmissionScore

from . import fairness, scores, wakeup

#: Before a bagging runs again whose submission has more folds to come, and between two blendings.
PAUSE = timedelta(seconds=2)
#: So many submissions of a data set are blended at most: the best by the official metric's valid score.
MOST_BLENDED = 100

T = TypeVar("T")

_SCORED = SubmissionFold.objects.filter(cv_fold__isnull=False, job__state=JobState.SUCCEEDED)
_TO_COME = SubmissionFold.objects.filter(job__state__in=states.UNFINISHED)


def want_bagging(submissions: Collection[int]) -> None:
    """There is more to combine, or something else, in these submissions, which are locked."""
    _want(Ensemble.objects.filter(submission__in=submissions))


def want_baggings_of(raw_data: RawData) -> None:
    """The same of all submissions of a data set, which is locked."""
    _want(Ensemble.objects.filter(raw_data=raw_data, submission__isnull=False))


def want_blending(raw_data_id: int) -> None:
    """The same for all submissions of a data set together."""
    _want(Ensemble.objects.filter(raw_data=raw_data_id, submission=None))


def _want(wanted: QuerySet[Ensemble]) -> None:
    """In as many statements for many as for one."""
    ensembles = list(
        wanted.order_by("pk")
        .select_for_update(of=("self",))
        .select_related("submission__owner", "raw_data__owner")
    )
    if not ensembles:
        return
    Ensemble.objects.filter(pk__in=[each.pk for each in ensembles]).update(wanted=F("wanted") + 1)
    ready = _with_something(ensembles)
    states.cancel(
        Job.objects.filter(pk__in=[each.job_id for each in ensembles if each not in ready and each.job_id])
    )
    pauses = _pauses(ready)
    new = [each for each in ready if each.job_id is None]
    for each in new:
        each.job = _job(each, pauses[each.pk])
    Job.objects.bulk_create([each.job for each in new if each.job is not None])
    Ensemble.objects.bulk_update(new, ["job"])
    old = {each.job_id: pauses[each.pk] for each in ready if each not in new and each.job_id is not None}
    _run_again(old)
    wakeup.scheduler()


def _run_again(pauses: Mapping[UUID, timedelta]) -> None:
    """Those of the jobs that have ended run again; those that wait do so no longer than their pause."""
    for pause in set(pauses.values()):
        jobs = Job.objects.filter(pk__in=[id for id, its in pauses.items() if its == pause])
        states.rerun(jobs, pause=pause)
        states.hasten(jobs, pause)


def _job(ensemble: Ensemble, pause: timedelta) -> Job:
    owner = (ensemble.submission or ensemble.raw_data).owner
    return Job(
        kind=JobKind.ENSEMBLE,
        queue=queues.in_environment(queues.PREPARATION, ensemble.raw_data.environment),
        owner=owner,
        share=fairness.share_of(owner, ensemble.submission),
        not_before=Now() + pause,
    )


def _with_something(ensembles: Iterable[Ensemble]) -> list[Ensemble]:
    """Those for which there is something to combine: without, their jobs do not run."""
    ensembles = list(ensembles)
    ids = [each.submission_id for each in ensembles if each.submission_id is not None]
    scored = set(_SCORED.filter(databoard_s__in=ids).values_list("databoard_s", flat=True)) if ids else set()
    return [
        each
        for each in ensembles
        if (_best(each.raw_data) if each.submission_id is None else each.submission_id in scored)
    ]


def _pauses(ensembles: Iterable[Ensemble]) -> dict[int, timedelta]:
    """A bagging lets some of the folds that will follow come; so does each blending but the first."""
    ids = [each.submission_id for each in ensembles if each.submission_id is not None]
    unfinished = (
        set(_TO_COME.filter(databoard_s__in=ids).values_list("databoard_s", flat=True)) if ids else set()
    )
    waits = {
        each.pk: each.job_id is not None if each.submission_id is None else each.submission_id in unfinished
        for each in ensembles
    }
    return {pk: PAUSE if wait else timedelta(0) for pk, wait in waits.items()}


# --- what they are computed from -------------------------------------------------------------------------


def taken(jobs: Iterable[UUID]) -> list[Ensemble]:
    """What these jobs are to compute, if they are such: their orders take all that is wanted until now."""
    mine = Ensemble.objects.filter(job__in=list(jobs))
    mine.update(done=F("wanted"))
    return list(mine.select_related("job", "raw_data"))


def folds_of(ensemble: Ensemble) -> list[SubmissionFold]:
    """The folds whose predictions are combined, by submission and number."""
    folds = _SCORED.filter(databoard_s__raw_data=ensemble.raw_data_id)
    if ensemble.submission_id is not None:
        folds = folds.filter(databoard_s=ensemble.submission_id)
    else:
        folds = folds.filter(databoard_s__in=_best(ensemble.raw_data))
    folds = folds.filter(
        train_is=F("cv_fold__train_is"), test_is=F("cv_fold__test_is")
    )  # not those of an older cut
    return list(folds.select_related("cv_fold", "prepared").order_by("databoard_s", "cv_fold__number"))


def _best(raw_data: RawData) -> list[int]:
    """The complete submissions with the best official scores on the validation rows."""
    (official, lower_is_better), *_ = scores.directions(raw_data).items()
    number = (
        CVFold.objects.filter(prepared__raw_data=raw_data).values("prepared").annotate(number=Count("pk"))
    )
    complete = SubmissionScore.objects.filter(
        submission__raw_data=raw_data, metric=official, part=Part.VALID, folds__in=number.values("number")
    )
    # What is no number sorts last in ascending order.
    best = complete.annotate(key=F("mean") * (1.0 if lower_is_better else -1.0)).order_by("key", "submission")
    return list(best.values_list("submission", flat=True)[:MOST_BLENDED])


# --- what came of them -----------------------------------------------------------------------------------


def held_by(job: str | UUID) -> Ensemble | None:
    """What this job computes, if it is one of these, locked with its submission."""
    ensemble = Ensemble.objects.filter(job_id=job).first()
    if ensemble is None:
        return None
    if ensemble.submission_id is not None:
        scores.lock([ensemble.submission_id])
    return Ensemble.objects.select_for_update().filter(pk=ensemble.pk).first()


def settle(ensemble: Ensemble, outcome: Outcome | None) -> None:
    """Its attempt has ended, with a good outcome or without: keeps what it gave, and runs it again if that is stale.

    The caller holds its locks. Raises ValueError if the outcome can't be understood.
    """
    is_current = ensemble.wanted == ensemble.done
    if outcome is not None and ensemble.submission_id is None:
        _keep_blend(ensemble, outcome.facts)
    elif outcome is not None and is_current:
        assert ensemble.submission_id is not None
        _keep_bagging(ensemble.submission_id, outcome.facts)
        if _is_complete(ensemble.submission_id):
            want_blending(ensemble.raw_data_id)
    assert ensemble.job_id is not None
    ended = Job.objects.filter(pk=ensemble.job_id, state__in=TERMINAL_STATES)
    if not is_current and ended.exists() and (again := _with_something([ensemble])):
        states.rerun(ended, pause=_pauses(again)[ensemble.pk])


def _keep_bagging(submission: int, facts: Mapping[str, Any]) -> None:
    ids = dict(_SCORED.filter(databoard_s=submission).values_list("cv_fold__number", "pk"))
    folds = {int(number): _parts(parts, _number) for number, parts in _object(facts, "scores").items()}
    scores.store({ids[number]: parts for number, parts in folds.items() if number in ids}, [submission])
    scores.bag(submission, _parts(_object(facts, "bagged"), _numbers))


def _keep_blend(ensemble: Ensemble, facts: Mapping[str, Any]) -> None:
    shares = {str(int(id)): _number(share) for id, share in _object(facts, "contributivity").items()}
    bagged = _parts(_object(facts, "bagged"), _number)
    result = scores.storable({"contributivity": shares, "bagged": bagged})
    Ensemble.objects.filter(pk=ensemble.pk).update(result=result)


def _object(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = facts.get(name)
    if not isinstance(value, Mapping):
        raise ValueError(f"the outcome of an ensemble has no {name}")  # noqa: TRY004 - what was sent is no object
    return value


def _parts(parts: Mapping[str, Any], read: Callable[[object], T]) -> dict[str, dict[str, T]]:
    """part → metric → what `read` makes of it."""
    return {part: {name: read(value) for name, value in metrics.items()} for part, metrics in parts.items()}


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r:.40} is no score")  # noqa: TRY004
    return float(value)


def _numbers(values: object) -> list[float]:
    if not isinstance(values, list):
        raise ValueError(f"{values!r:.40} are no scores")  # noqa: TRY004
    return [_number(value) for value in values]


def _is_complete(submission: int) -> bool:
    """All of its folds have succeeded."""
    folds = SubmissionFold.objects.filter(databoard_s=submission)
    return not folds.exclude(job__state=JobState.SUCCEEDED).exists()
