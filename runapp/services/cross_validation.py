"""How a data set's folds are cut: what organisers may ask for, what a runner has cut, and the folds of submissions.

Nothing is split here: that takes the data, so it is a job's.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
from django.contrib.auth.models import User
from django.db import connection
from numpy.typing import NDArray

from datarun.contract import metrics, queues, splitters
from datarun.contract.elements import parse_elements
from datarun.contract.failures import FailureKind
from datarun.contract.messages import CrossValidation, FoldRows, Outcome
from datarun.contract.states import JobKind
from runapp import states
from runapp.models import Blob, CVFold, Ensemble, Job, PreparedData, RawData, Submission, SubmissionFold

from . import blobs, checks, fairness
from .errors import BadInput

_KEYS = frozenset({"splitter", "parameters", "groups"})
_BATCH = 1000  # rows inserted by a statement
_LONGEST = 100  # characters of a metric's name
_MOST_METRICS = 100


# --- what is posted ------------------------------------------------------------------------------------


def parse_metrics(posted: object, task: metrics.Task | None) -> list[str]:
    """The names in a list, or in a text with commas between them; raises `BadInput`."""
    names = posted.split(",") if isinstance(posted, str) else posted
    if names is None:
        return []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadInput("metrics", "Send a list of names of metrics, the official one first.")
    names = [name.strip() for name in names if name.strip()]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise BadInput("metrics", f"{repeated[:_LONGEST]!r} is named twice.")
    for name in names:
        if problem := metrics.problem(name[:_LONGEST], task):
            raise BadInput("metrics", problem)
    return names


def parse_cv(posted: object, rows: int | None, columns: Collection[str] | None) -> dict[str, Any] | None:
    """A cross-validation as it is stored; raises `BadInput`.

    `rows`: of the train part at most, if that is known. `columns` of the csv; None for a custom module.
    """
    if posted is None:
        return None
    if not isinstance(posted, Mapping):
        raise BadInput("cv", 'Send {"splitter": name, "parameters": {…}}, or {"folds": [[train, test], …]}.')
    if "folds" in posted:
        if len(posted) > 1:
            raise BadInput("cv", "Send either folds, or a splitter with its parameters.")
        return {"folds": _explicit(posted["folds"], rows)}
    if unknown := sorted(set(posted) - _KEYS):
        raise BadInput(
            "cv", f"{unknown[0][:40]!r} is unknown: use splitter, parameters and groups, or folds."
        )
    splitter, groups = posted.get("splitter"), posted.get("groups")
    parameters = {} if posted.get("parameters") is None else posted["parameters"]
    if not isinstance(splitter, str) or not isinstance(groups, str | None):
        raise BadInput("cv", "splitter is a name of scikit-learn's, groups the name of a column.")
    _check_parameters(parameters)
    if problem := splitters.problem(splitter[:_LONGEST], parameters, groups, rows):
        raise BadInput("cv", "{}: {}".format(*problem))
    if groups is not None and (columns is None or groups not in columns):
        has = "a custom module has no columns" if columns is None else f"it has {', '.join(columns)}"
        raise BadInput("cv", f"groups: there is no column {groups[:_LONGEST]!r}: {has}.")
    return {"splitter": splitter, "parameters": dict(parameters), "groups": groups}


def check_rows(cv: Mapping[str, Any], rows: int, field: str) -> None:
    """Once it is known how many rows there can be at most to train on; raises `BadInput` of `field`."""
    if "folds" in cv:
        for pair in cv["folds"]:
            indices = [np.frombuffer(blobs.get(name), "<i8") for name in pair]
            if (largest := max(int(part.max()) for part in indices)) >= rows:
                raise BadInput(field, f"cv: {checks.index_range_problem(largest, rows)}")
    elif problem := splitters.problem(cv["splitter"], cv["parameters"], cv["groups"], rows):
        raise BadInput(field, "cv: {}: {}".format(*problem))


def _check_parameters(parameters: object) -> None:
    if not isinstance(parameters, Mapping):
        raise BadInput("cv", "parameters: send an object of name → value.")
    for name, value in parameters.items():
        numbers = value if name == "test_fold" and isinstance(value, list) else [value]
        if not all(isinstance(number, int | float | None) for number in numbers):
            raise BadInput("cv", f"parameters: {name[:40]} takes numbers, true, false or null.")


def _explicit(folds: object, rows: int | None) -> list[list[str]]:
    """Blobs of the index arrays."""
    if not isinstance(folds, list) or not 0 < len(folds) <= splitters.MOST_FOLDS:
        raise BadInput("cv", f"folds: send a list of 1 to {splitters.MOST_FOLDS} pairs [train, test].")
    stored = []
    for number, pair in enumerate(folds):
        if not isinstance(pair, list) or len(pair) != 2:
            raise BadInput("cv", f"folds: number {number} is no pair [train, test].")
        try:
            parts = checks.listed_fold(*pair)
            if rows is not None:
                checks.index_range(*parts, rows)
        except BadInput as error:
            raise BadInput("cv", f"folds: number {number}: {error}") from error
        stored.append([_stored(part) for part in parts])
    return stored


def _stored(indices: NDArray[np.int64]) -> str:
    return blobs.put(indices.astype("<i8").tobytes())


# --- what runners are told, and say ---------------------------------------------------------------------


def order(raw_data: RawData) -> CrossValidation | None:
    """What a preparation of the data set is to cut; None for a kit, which knows."""
    if raw_data.cv is None:
        return None
    if "folds" in raw_data.cv:
        return CrossValidation(folds=tuple(FoldRows(*pair) for pair in raw_data.cv["folds"]))
    return CrossValidation(**raw_data.cv)


def is_cut(raw_data: RawData) -> bool:
    """Whether the platform cuts its folds, so that it takes whole submissions."""
    return raw_data.kit or raw_data.cv is not None


def problem_of(version: PreparedData, outcome: Outcome) -> str | None:
    """What is wrong with the folds that a preparation has cut and with what it says of a kit, or None."""
    if not is_cut(version.raw_data):
        return None
    number = outcome.counts.get("n_folds", 0)
    if not 0 < number <= splitters.MOST_FOLDS:
        return f"The cross-validation has {number} folds: 1 to {splitters.MOST_FOLDS} are possible."
    names = {blob for pair in _cut(outcome) for blob in pair}
    if "" in names or Blob.objects.filter(pk__in=names).count() < len(names):
        return "The indices of some folds are missing."
    return _facts_problem(outcome.facts) if version.raw_data.kit else None


def record(version: PreparedData, outcome: Outcome) -> None:
    """Keeps the folds that a preparation has cut, and what a kit says of itself."""
    raw_data = version.raw_data
    if not is_cut(raw_data):
        return
    cut = [
        CVFold(prepared=version, number=number, train_is_id=train_is, test_is_id=test_is)
        for number, (train_is, test_is) in enumerate(_cut(outcome))
    ]
    CVFold.objects.bulk_create(
        cut,
        _BATCH,
        update_conflicts=True,
        unique_fields=["prepared", "number"],
        update_fields=["train_is", "test_is"],
    )
    if raw_data.kit:
        facts = {name: outcome.facts[name] for name in ("title", "elements", "metrics")}
        PreparedData.objects.filter(pk=version.pk).update(facts=facts)
        raw_data.workflow_elements = ",".join(facts["elements"])
        own = [metric["name"] for metric in facts["metrics"]]
        before = [metric["name"] for metric in version.facts.get("metrics", [])]
        raw_data.metrics = own + [name for name in raw_data.metrics if name not in (*own, *before)]
        raw_data.save(update_fields=["workflow_elements", "metrics"])


def _cut(outcome: Outcome) -> list[tuple[str, str]]:
    """The blobs of train and test indices, by number; "" where one is missing."""
    numbers = range(outcome.counts["n_folds"])
    parts = [[f"cv/{number}/{part}" for part in ("train_is", "test_is")] for number in numbers]
    return [(outcome.blobs.get(train, ""), outcome.blobs.get(test, "")) for train, test in parts]


def _facts_problem(facts: Mapping[str, Any]) -> str | None:
    """Of a kit: its code is the organiser's, so what it says is bounded like any input."""
    title, elements, known = facts.get("title"), facts.get("elements"), facts.get("metrics")
    if not isinstance(title, str) or len(title) > 1000 or title != states.storable(title):
        return "problem_title of the kit is no text of up to 1000 characters."
    if not _are_names(elements, 200) or len(",".join(elements)) > 1000 or "," in "".join(elements):
        return "The workflow of the kit has no usable element names."
    if not isinstance(known, list) or not all(isinstance(metric, Mapping) for metric in known):
        return "The score_types of the kit can't be read."
    if not _are_names([metric.get("name") for metric in known], _LONGEST) or len(known) > _MOST_METRICS:
        return f"score_types of the kit: 1 to {_MOST_METRICS} are wanted, each with a name of its own."
    if not all(isinstance(metric.get("lower_is_better"), bool) for metric in known):
        return "score_types of the kit don't say whether less is better."
    return None


def _are_names(names: object, longest: int) -> TypeGuard[list[str]]:
    """A list of different printable texts."""
    return (
        isinstance(names, list)
        and bool(names)
        and all(isinstance(name, str) and name.isprintable() and 0 < len(name) <= longest for name in names)
        and len(set(names)) == len(names)
    )


# --- the folds of submissions ----------------------------------------------------------------------------


def new_ids(sequence: str, number: int) -> list[int]:
    """So many ids that nobody has yet, of `models.OWN_IDS`."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval(%s::regclass) FROM generate_series(1, %s)", [sequence, number])
        return [id for (id,) in cursor.fetchall()]


def make_folds(version: PreparedData) -> int:
    """Makes the folds of all whole submissions that wait for them; returns of how many.

    The version is prepared, and the caller holds the lock of its data set.
    """
    waiting = list(
        Submission.objects.filter(raw_data=version.raw_data_id, folds_made=False)
        .select_related("owner")
        .order_by("created_at", "pk")
    )
    if not waiting:
        return 0
    cut = list(version.cv_folds.order_by("number"))
    version.raw_data.refresh_from_db()  # a kit's elements are known now
    for submission in waiting:
        submission.raw_data = version.raw_data
    _insert(version, waiting, cut)
    Submission.objects.filter(pk__in=[submission.pk for submission in waiting]).update(folds_made=True)
    for submission in waiting:
        if problem := missing_elements(version.raw_data, submission.files):
            jobs = Job.objects.filter(submissionfold__databoard_s=submission)
            states.fail_waiting(jobs, FailureKind.USER_ERROR, problem)
    return len(waiting)


def _insert(version: PreparedData, submissions: Sequence[Submission], cut: Sequence[CVFold]) -> None:
    assert version.n_train is not None
    ids = iter(new_ids("runapp_fold_ids", len(submissions) * len(cut)))
    pairs = [(submission, cv_fold, next(ids)) for submission in submissions for cv_fold in cut]
    jobs = [_job(submission.owner, submission, id) for submission, _, id in pairs]
    Job.objects.bulk_create(jobs, _BATCH)
    SubmissionFold.objects.bulk_create(
        [
            SubmissionFold(
                databoard_sf_id=id,
                databoard_s=submission,
                job=job,
                cv_fold=cv_fold,
                prepared=version,
                train_is_id=cv_fold.train_is_id,
                test_is_id=cv_fold.test_is_id,
                priority=submission.priority,
                max_index=version.n_train - 1,  # a runner cut it from these rows
            )
            for (submission, cv_fold, id), job in zip(pairs, jobs, strict=True)
        ],
        _BATCH,
    )
    _prepare_ensembles(version.raw_data, submissions)


def _job(owner: User | None, submission: Submission, fold_id: int) -> Job:
    return Job(
        kind=JobKind.FOLD,
        queue=queues.in_environment(submission.priority, submission.raw_data.environment),
        owner=owner,
        share=fairness.share_of(owner, submission),
        databoard_sf_id=fold_id,
    )


def _prepare_ensembles(raw_data: RawData, submissions: Iterable[Submission]) -> None:
    """Rows to count on what there is to combine; their jobs follow when there is something."""
    rows = [Ensemble(raw_data=raw_data, submission=submission) for submission in submissions]
    Ensemble.objects.bulk_create([Ensemble(raw_data=raw_data), *rows], _BATCH, ignore_conflicts=True)


def missing_elements(raw_data: RawData, files: Collection[str]) -> str | None:
    """Which of the files are missing that the data set asks for, in words, or None.

    An element that names a file with an ending, as some kits have, is the kit's own to ask for.
    """
    elements = parse_elements(raw_data.workflow_elements)
    missing = [f"{name}.py" for name in elements if "." not in name and f"{name}.py" not in files]
    if not missing:
        return None
    return f"Missing: {', '.join(missing)}: one for each workflow element."
