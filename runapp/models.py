"""The tables. Rows only: what may happen to a job's state is in `runapp.states`, the rest in services."""

import uuid
from datetime import timedelta
from enum import StrEnum

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from datarun.contract import queues
from datarun.contract.failures import FailureKind
from datarun.contract.states import FoldState, JobKind, JobState, Stage, fold_state

#: How long a job may wait for its turn or its data.
WAIT_LIMIT = timedelta(days=30)
#: Ids that the platform gives to whole submissions and their folds; those who cut folds themselves choose others.
OWN_IDS = range(2**40, 2**41)


class Part(StrEnum):
    """What a fold's predictions are scored on."""

    TRAIN = "train"  # the rows that it was trained on
    VALID = "valid"  # the rows of the train part that it was not
    TEST = "test"


def _choices(enum: type) -> list[tuple[str, str]]:
    return [(member.value, member.value or "started") for member in enum]  # type: ignore[attr-defined]


def log_messages(state: str, stage: str, failure: str, message: str, log: str) -> str:
    """Why a job failed, then what it printed.

    A failure names the part that failed the way datarun's clients look for it: ``ERROR(train)``.
    """
    if state == JobState.FAILED:
        part = "split data" if failure == FailureKind.DATA else _FAILED_PART[Stage(stage)]
        message = f"{message} - ERROR({part})"
    return "\n".join(filter(None, (message, log)))


_FAILED_PART = {Stage.STARTED: "train", Stage.TRAINED: "validation", Stage.VALIDATED: "test"}


class Blob(models.Model):
    """Bytes, named by their sha256. Small ones live in `content`, large ones in the default storage."""

    sha256 = models.CharField(max_length=64, primary_key=True)
    size = models.BigIntegerField()
    content = models.BinaryField(null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    def __str__(self) -> str:
        return f"{self.sha256[:12]} ({self.size} bytes)"


class Job(models.Model):
    """One unit of work on one queue. `runapp.states` alone writes `state`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=16, choices=_choices(JobKind))
    queue = models.CharField(max_length=64)
    # No index: it would cost each job three insertions, for the rare deletion of a user.
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, db_index=False
    )
    # The id of its fold, if it has one: folds in a rare state are found in the order of their ids.
    databoard_sf_id = models.BigIntegerField(null=True, blank=True, editable=False)

    state = models.CharField(max_length=16, choices=_choices(JobState), default=JobState.CREATED)
    # How far the running attempt has come.
    stage = models.CharField(max_length=16, choices=_choices(Stage), default=Stage.STARTED, blank=True)
    # Numbers the tries; results count only for the current one.
    attempt = models.PositiveIntegerField(default=0)
    # How many of them failed through no fault of the job.
    losses = models.PositiveIntegerField(default=0)
    # Who claimed the current attempt, or had the last one.
    runner = models.CharField(max_length=255, default="", blank=True)
    # Who shares slots with it: jobs with the same share take turns with all others.
    share = models.CharField(max_length=64, default="", blank=True)
    # It can't start before its data set is prepared.
    waits_for_data = models.BooleanField(default=False)
    # Not to be tried again before; in the past for all but retries.
    not_before = models.DateTimeField(db_default=Now(), editable=False)
    # Somebody wants it to end; a running job ends once its runner confirms it.
    cancel_requested = models.BooleanField(default=False)

    # When the current state is over, one way or the other; null in terminal states only.
    deadline = models.DateTimeField(db_default=Now() + WAIT_LIMIT, null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    queued_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    failure = models.CharField(max_length=16, choices=_choices(FailureKind), default="", blank=True)
    # Why it failed: one paragraph, or a traceback.
    message = models.TextField(default="", blank=True)
    # The tail of what it printed.
    log = models.TextField(default="", blank=True)

    # Seconds and MiB, measured by the operating system for a fold's own process; of the attempt that counts.
    train_time = models.FloatField(default=0.0)
    validation_time = models.FloatField(default=0.0)
    test_time = models.FloatField(default=0.0)
    train_cpu_time = models.FloatField(default=0.0)
    test_cpu_time = models.FloatField(default=0.0)
    train_memory = models.FloatField(default=0.0)
    test_memory = models.FloatField(default=0.0)

    class Meta:
        indexes = (
            models.Index(
                fields=["queue", "share", "created_at", "id"],
                name="job_dispatchable",
                condition=Q(state=JobState.CREATED, waits_for_data=False),
            ),
            models.Index(
                fields=["queue", "share"],
                name="job_in_flight",
                condition=Q(state__in=[JobState.QUEUED, JobState.RUNNING]),
            ),
            models.Index(
                fields=["deadline"],
                name="job_deadline",
                condition=Q(state__in=[JobState.CREATED, JobState.QUEUED, JobState.RUNNING]),
            ),
            models.Index(
                fields=["runner"],
                name="job_cancelling",
                condition=Q(state=JobState.RUNNING, cancel_requested=True),
            ),
            models.Index(
                fields=["queue", "-finished_at"], name="job_recent", condition=Q(finished_at__isnull=False)
            ),
            models.Index(fields=["finished_at"], name="job_with_log", condition=~Q(log="")),
            models.Index(
                fields=["databoard_sf_id"],
                name="job_unfinished",
                condition=Q(state__in=[JobState.CREATED, JobState.QUEUED, JobState.RUNNING]),
            ),
            models.Index(
                fields=["databoard_sf_id"],
                name="job_failed",
                condition=Q(state__in=[JobState.FAILED, JobState.CANCELLED]),
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.id} ({self.state})"

    @property
    def log_messages(self) -> str:
        return log_messages(self.state, self.stage, self.failure, self.message, self.log)


class Attempt(models.Model):
    """An earlier attempt at a job: what became of it. The current one stands in the job itself."""

    job = models.ForeignKey(Job, models.CASCADE, related_name="earlier")
    number = models.PositiveIntegerField()
    runner = models.CharField(max_length=255, default="", blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(db_default=Now())
    # The state that it ended in, or "handed back".
    outcome = models.CharField(max_length=16)
    failure = models.CharField(max_length=16, choices=_choices(FailureKind), default="", blank=True)
    message = models.TextField(default="", blank=True)
    log = models.TextField(default="", blank=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=["job", "number"], name="attempt_once"),)
        indexes = (models.Index(fields=["ended_at"], name="attempt_ended"),)

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.job_id}"


class LogPiece(models.Model):
    """What a running attempt has printed, from a byte of its log on; until its outcome brings the whole."""

    job = models.ForeignKey(Job, models.CASCADE, related_name="log_pieces")
    attempt = models.PositiveIntegerField()
    offset = models.PositiveIntegerField()
    text = models.TextField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=["job", "attempt", "offset"], name="log_piece_once"),)

    def __str__(self) -> str:
        return f"log of {self.job_id} from {self.offset}"


class RawData(models.Model):
    """A data set as posted: its files, target column and workflow elements."""

    name = models.CharField(max_length=100, unique=True)
    target_column = models.CharField(max_length=200, blank=True)
    # Of a kit: as its `problem.py` says once it is prepared, like its metrics.
    workflow_elements = models.CharField(max_length=1000)
    # File name → sha256.
    files = models.JSONField(default=dict)
    # The name of the custom module among the files, if the data set brings one.
    module = models.CharField(max_length=255, default="", blank=True)
    # How its folds are cut: splitter, parameters and groups; or folds, pairs of blobs of train and test indices.
    # Null where clients cut them, and for a kit, which brings a `get_cv` of its own.
    cv = models.JSONField(null=True, blank=True)
    # Names of metrics, the official one first.
    metrics = models.JSONField(default=list, db_default=[], blank=True)
    # A RAMP kit: its module is `problem.py`, and its files' names are paths below the kit's folder.
    kit = models.BooleanField(default=False, db_default=False)
    # Which of a kit's data to read, if its functions take such a label.
    data_label = models.CharField(max_length=100, default="", db_default="", blank=True)
    # The runners' environment that it wants; "": their own Python.
    environment = models.CharField(max_length=32, default="", db_default="", blank=True)
    # Since when it takes no submissions any more, and shows test scores to everybody.
    closed_at = models.DateTimeField(null=True, blank=True)
    # No more rows than this can be in the csv: its lines. Null for custom data.
    max_rows = models.PositiveBigIntegerField(null=True, blank=True)
    # Seconds for one fold: killed at the first, told to finish at the second. Null: the platform's limit.
    time_limit = models.FloatField(null=True, blank=True, validators=[MinValueValidator(1)])
    soft_time_limit = models.FloatField(null=True, blank=True, validators=[MinValueValidator(1)])
    # What a participant may do: submissions_per_day, bytes of a submission, folds that wait or run. None: any.
    limits = models.JSONField(default=dict, db_default={}, blank=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        verbose_name_plural = "raw data"

    def __str__(self) -> str:
        return self.name


class PreparedData(models.Model):
    """One version of a data set's train and test part: what one set of split parameters gives."""

    raw_data = models.ForeignKey(RawData, models.CASCADE, related_name="versions")
    job = models.OneToOneField(Job, models.PROTECT)
    # Null for a custom module, whose `prepare_data` takes no parameters.
    held_out_test = models.FloatField(null=True, blank=True)
    random_state = models.BigIntegerField(null=True, blank=True)
    # What the preparation gave: null until its job succeeded.
    n_train = models.PositiveBigIntegerField(null=True, blank=True)
    n_test = models.PositiveBigIntegerField(null=True, blank=True)
    files = models.JSONField(default=dict, blank=True)
    # What a kit says of itself: title, elements, and metrics with their directions.
    facts = models.JSONField(default=dict, db_default={}, blank=True)
    # Asked for last: new folds of the data set run on the version with the latest.
    requested_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        verbose_name_plural = "prepared data"
        constraints = (
            models.UniqueConstraint(
                fields=["raw_data", "held_out_test", "random_state"],
                name="prepared_once",
                nulls_distinct=False,
            ),
        )

    def __str__(self) -> str:
        if self.held_out_test is None:
            return f"{self.raw_data}, prepared by its module"
        return f"{self.raw_data}, {self.held_out_test} held out, random state {self.random_state}"


class CVFold(models.Model):
    """One fold of a data set's cross-validation: int64 index arrays into the train part, stored once each."""

    prepared = models.ForeignKey(PreparedData, models.CASCADE, related_name="cv_folds")
    number = models.PositiveIntegerField()
    train_is = models.ForeignKey(Blob, models.PROTECT, related_name="+", db_index=False)
    test_is = models.ForeignKey(Blob, models.PROTECT, related_name="+", db_index=False)

    class Meta:
        verbose_name = "CV fold"
        constraints = (models.UniqueConstraint(fields=["prepared", "number"], name="cv_fold_once"),)

    def __str__(self) -> str:
        return f"fold {self.number} of {self.prepared}"


class Submission(models.Model):
    """A set of code files, for one raw data."""

    databoard_s_id = models.BigIntegerField(primary_key=True, validators=[MinValueValidator(0)])
    raw_data = models.ForeignKey(RawData, models.CASCADE)
    name = models.CharField(max_length=200, default="", db_default="", blank=True)
    # File name → sha256.
    files = models.JSONField(default=dict)
    # It runs on the folds of its data set; otherwise on those that its client cuts.
    whole = models.BooleanField(default=False, db_default=False)
    # A whole one has its folds; until its data set is prepared it waits for them.
    folds_made = models.BooleanField(default=True, db_default=True)
    # The queue of the folds that are made for it.
    priority = models.CharField(
        max_length=1,
        choices=[(q, q) for q in queues.PRIORITIES],
        default=queues.LIGHT,
        db_default=queues.LIGHT,
    )
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        indexes = (
            models.Index(fields=["raw_data"], name="submission_unmade", condition=Q(folds_made=False)),
        )

    def __str__(self) -> str:
        return f"submission {self.databoard_s_id}"


class SubmissionFold(models.Model):
    """A submission on one CV fold: what is trained, validated and tested."""

    databoard_sf_id = models.BigIntegerField(primary_key=True, validators=[MinValueValidator(0)])
    databoard_s = models.ForeignKey(Submission, models.CASCADE)
    job = models.OneToOneField(Job, models.PROTECT)
    # Which fold of its data set it is; null for one that its client cut.
    cv_fold = models.ForeignKey(CVFold, models.RESTRICT, null=True, blank=True, db_index=False)
    # The version of the data that it runs on; null until there is one.
    prepared = models.ForeignKey(PreparedData, models.RESTRICT, null=True, blank=True)
    # int64 index arrays into the train part, stored once each.
    train_is = models.ForeignKey(Blob, models.PROTECT, related_name="+", db_index=False)
    test_is = models.ForeignKey(Blob, models.PROTECT, related_name="+", db_index=False)
    priority = models.CharField(
        max_length=1, choices=[(q, q) for q in queues.PRIORITIES], default=queues.LIGHT
    )
    # The largest index: checked against the rows of the train part once these are known.
    max_index = models.PositiveBigIntegerField()
    # Its predictions have not been asked for yet.
    new = models.BooleanField(default=True)

    class Meta:
        indexes = (
            models.Index(fields=["databoard_sf_id"], name="fold_new", condition=Q(new=True)),
            models.Index(fields=["cv_fold"], name="fold_of_cv", condition=Q(cv_fold__isnull=False)),
        )

    def __str__(self) -> str:
        return f"fold {self.databoard_sf_id} of {self.databoard_s_id}"

    @property
    def state(self) -> FoldState:
        return fold_state(self.job.state, self.job.stage)

    @property
    def log_messages(self) -> str:
        return self.job.log_messages


class Prediction(models.Model):
    """What a fold predicted for the two parts of its data (`datarun.contract.predictions`)."""

    fold = models.OneToOneField(SubmissionFold, models.CASCADE, primary_key=True)
    train = models.BinaryField(null=True, editable=False)
    test = models.BinaryField(null=True, editable=False)

    def __str__(self) -> str:
        return f"predictions of {self.fold}"


class Score(models.Model):
    """What a fold's predictions of one part are worth by one metric."""

    fold = models.ForeignKey(SubmissionFold, models.CASCADE, db_index=False)
    metric = models.CharField(max_length=100)
    part = models.CharField(max_length=5, choices=_choices(Part))
    value = models.FloatField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=["fold", "metric", "part"], name="score_once"),)

    def __str__(self) -> str:
        return f"{self.metric} ({self.part}) of fold {self.fold_id}: {self.value}"


class SubmissionScore(models.Model):
    """The scores of a submission's folds together. `services.scores` keeps it true to them."""

    submission = models.ForeignKey(Submission, models.CASCADE, db_index=False)
    # The submission's: a leaderboard is read from one index.
    raw_data = models.ForeignKey(RawData, models.CASCADE, db_index=False)
    metric = models.CharField(max_length=100)
    part = models.CharField(max_length=5, choices=_choices(Part))
    # Over so many folds; `std` is the population's.
    folds = models.PositiveIntegerField()
    mean = models.FloatField()
    std = models.FloatField()
    # The score of the folds' combined predictions, and of those of the first fold, the first two, and so on.
    bagged = models.FloatField(null=True, blank=True)
    curve = models.JSONField(default=list, blank=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["submission", "metric", "part"], name="submission_score_once"),
        )
        indexes = (models.Index(fields=["raw_data", "metric", "part", "mean"], name="leaderboard"),)

    def __str__(self) -> str:
        return f"{self.metric} ({self.part}) of submission {self.submission_id}: {self.mean} ± {self.std}"


class Ensemble(models.Model):
    """What is computed of predictions together: of one submission's folds (bagging), or of a data set's submissions
    (blending). One job, which runs again whenever there is more to combine.
    """

    raw_data = models.ForeignKey(RawData, models.CASCADE)
    submission = models.OneToOneField(Submission, models.CASCADE, null=True, blank=True)
    # Null until there is something to combine.
    job = models.OneToOneField(Job, models.PROTECT, null=True, blank=True)
    # Counts the reasons to compute it, and which of them the latest order knew.
    wanted = models.PositiveBigIntegerField(default=0)
    done = models.PositiveBigIntegerField(default=0)
    # What blending gave: contributivity by submission, and the combined scores by part and metric.
    result = models.JSONField(default=dict, blank=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=["raw_data"], name="one_blend", condition=Q(submission__isnull=True)
            ),
        )

    def __str__(self) -> str:
        return f"bagging of {self.submission}" if self.submission_id else f"blending of {self.raw_data}"


class Record(models.Model):
    """What a fold's results were computed with, as its runner says; the rest of it stands in other rows."""

    fold = models.OneToOneField(SubmissionFold, models.CASCADE, primary_key=True)
    facts = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"record of fold {self.fold_id}"


class Replay(models.Model):
    """A fold run once more, to be compared with what it gave; it changes nothing of the fold."""

    fold = models.ForeignKey(SubmissionFold, models.CASCADE)
    job = models.OneToOneField(Job, models.PROTECT)
    result = models.JSONField(null=True, blank=True)
    requested_at = models.DateTimeField(db_default=Now(), editable=False)

    def __str__(self) -> str:
        return f"replay of fold {self.fold_id}"


class Runner(models.Model):
    """A machine's Celery worker, as its heartbeats tell it."""

    name = models.CharField(max_length=255, primary_key=True)
    queues = models.JSONField(default=list)
    slots = models.PositiveIntegerField(default=0)
    versions = models.JSONField(default=dict)
    # Ids of the jobs that it runs.
    running = models.JSONField(default=list)
    leaving = models.BooleanField(default=False)
    # What does not keep submissions in on its machine, which was told to trust them (datarun runner check).
    unprotected = models.JSONField(default=list)
    # What it offers beside its own Python: name → versions.
    environments = models.JSONField(default=dict, db_default={})
    # Speaks another contract version: it gets no work.
    incompatible = models.BooleanField(default=False)
    last_seen = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.name


class RunnerToken(models.Model):
    """What opens blobs to one runner. Only its hash is kept; deleting the row revokes it."""

    name = models.CharField(max_length=255, unique=True)
    sha256 = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    def __str__(self) -> str:
        return self.name


class AccessToken(models.Model):
    """What lets a user in without a password. Only its hash is kept; deleting the row revokes it."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    name = models.CharField(max_length=100)
    sha256 = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} of {self.user}"


class Upload(models.Model):
    """A file that arrives in pieces (`services.uploads`); once whole it is a blob."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    # As announced.
    size = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    # When a piece of it came last.
    seen_at = models.DateTimeField(db_default=Now(), editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"upload {self.id} ({self.size} bytes)"


class IdempotencyKey(models.Model):
    """What a request with this key was answered, for whoever has to send it again."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    key = models.CharField(max_length=255)
    # Of route and body: the same key with others is a mistake.
    fingerprint = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True)
    answer = models.JSONField(null=True)
    headers = models.JSONField(default=dict)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = (models.UniqueConstraint(fields=["user", "key"], name="idempotency_key_once"),)
        indexes = (models.Index(fields=["created_at"], name="idempotency_key_created"),)

    def __str__(self) -> str:
        return self.key


class SchedulerLease(models.Model):
    """Which scheduler dispatches and reaps now. A matter of order, not of correctness."""

    holder = models.CharField(max_length=255)
    until = models.DateTimeField()

    def __str__(self) -> str:
        return self.holder


class Counter(models.Model):
    """A number that only grows, for the metrics: what happened, by labels (a JSON object's text)."""

    name = models.CharField(max_length=64)
    labels = models.CharField(max_length=255)
    value = models.FloatField(default=0.0)

    class Meta:
        constraints = (models.UniqueConstraint(fields=["name", "labels"], name="counter_once"),)

    def __str__(self) -> str:
        return f"{self.name}{self.labels}"


class Dropped(models.Model):
    """A message that changed nothing, and why: late, duplicate, stale or undecodable."""

    reason = models.CharField(max_length=64)
    runner = models.CharField(max_length=255, default="", blank=True)
    job = models.CharField(max_length=64, default="", blank=True)
    detail = models.TextField(default="", blank=True)
    at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        verbose_name_plural = "dropped messages"
        indexes = (
            models.Index(fields=["at"], name="dropped_at"),
            models.Index(fields=["reason", "id"], name="dropped_reason"),
            models.Index(fields=["job"], name="dropped_job"),
        )

    def __str__(self) -> str:
        return f"{self.reason}: {self.job or self.detail[:40]}"
