"""The admin pages. They show and edit rows; jobs change state through `runapp.states` only."""

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from datarun.contract import queues
from datarun.contract.states import JobKind

from .admin_lists import ManyRowsAdmin
from .models import (
    AccessToken,
    Attempt,
    CVFold,
    Dropped,
    Ensemble,
    Job,
    PreparedData,
    RawData,
    Replay,
    Runner,
    RunnerToken,
    Submission,
    SubmissionFold,
    SubmissionScore,
)
from .services import jobs, metrics, runners, waiting
from .services.waiting import Waiting

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
else:  # generic for type checkers only
    ModelAdmin = admin.ModelAdmin
    TabularInline = admin.TabularInline


class ReadOnlyAdmin(ModelAdmin):
    """Rows that the platform writes: to look at, and to delete."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(RawData)
class RawDataAdmin(ReadOnlyAdmin):
    list_display = ("id", "name", "workflow_elements", "target_column", "module", "owner", "created_at")
    list_display_links = ("id", "name")
    search_fields = ("name",)
    readonly_fields = (
        "workflow_elements",
        "target_column",
        "files",
        "module",
        "max_rows",
        "owner",
        "created_at",
    )

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_change_permission(self, request, obj)


class JobsAdmin(ReadOnlyAdmin):
    """Rows with jobs behind them, which people may cancel, run again, and ask why they wait."""

    actions: tuple[str, ...] = ("cancel", "rerun")
    readonly_fields: ClassVar[tuple[str, ...]] = ("waits",)

    @admin.action(description="Cancel the selected %(verbose_name_plural)s")
    def cancel(self, request: HttpRequest, selected: QuerySet[Any]) -> None:
        number = self.do_cancel(selected)
        self.message_user(
            request, f"{number} jobs cancelled; running ones end when their runners confirm it."
        )

    @admin.action(description="Run the selected %(verbose_name_plural)s again")
    def rerun(self, request: HttpRequest, selected: QuerySet[Any]) -> None:
        self._say_rerun(request, self.do_rerun(selected))

    def _say_rerun(self, request: HttpRequest, number: int) -> None:
        self.message_user(request, f"{number} jobs run again.")

    @admin.display(description="waits for")
    def waits(self, row: Any) -> str:
        return str(self.explain(row) or "")

    @admin.display
    def why(self, row: Any) -> str:
        """The last line of the reason: a traceback ends with what went wrong."""
        last = row.job.message.strip().splitlines()[-1:]
        return ": ".join(filter(None, (row.job.failure, *last)))[:120]

    def do_cancel(self, selected: QuerySet[Any]) -> int:
        return jobs.cancel(selected)

    def do_rerun(self, selected: QuerySet[Any]) -> int:
        return jobs.rerun(selected)

    def explain(self, row: Any) -> Waiting | None:
        return waiting.explain(row.job)


@admin.register(PreparedData)
class PreparedDataAdmin(JobsAdmin):
    list_display = (
        "raw_data",
        "held_out_test",
        "random_state",
        "n_train",
        "n_test",
        "state",
        "why",
        "requested_at",
    )
    list_filter = ("job__state", "raw_data")
    list_select_related = ("raw_data", "job")

    @admin.display(ordering="job__state")
    def state(self, version: PreparedData) -> str:
        return version.job.state

    def do_cancel(self, selected: QuerySet[PreparedData]) -> int:
        return jobs.cancel_preparations(selected)

    def do_rerun(self, selected: QuerySet[PreparedData]) -> int:
        return jobs.rerun_preparations(selected)


@admin.register(Submission)
class SubmissionAdmin(ManyRowsAdmin, JobsAdmin):
    actions = ("cancel", "rerun", "rerun_failed")
    list_display = ("databoard_s_id", "raw_data", "owner", "created_at")
    list_filter = ("raw_data",)
    list_select_related = ("raw_data", "owner")
    search_fields = sortable_by = ("databoard_s_id",)

    @admin.action(description="Run the failed folds of the selected submissions again")
    def rerun_failed(self, request: HttpRequest, selected: QuerySet[Submission]) -> None:
        self._say_rerun(request, jobs.rerun(_folds_of(selected), failed_only=True))

    def do_cancel(self, selected: QuerySet[Submission]) -> int:
        return jobs.cancel(_folds_of(selected))

    def do_rerun(self, selected: QuerySet[Submission]) -> int:
        return jobs.rerun(_folds_of(selected))

    def explain(self, row: Submission) -> Waiting | None:
        return jobs.waiting_of(row)


@admin.register(CVFold)
class CVFoldAdmin(ReadOnlyAdmin):
    list_display = ("prepared", "number", "train_is_id", "test_is_id")
    list_filter = ("prepared__raw_data",)
    list_select_related = ("prepared__raw_data",)


@admin.register(SubmissionScore)
class SubmissionScoreAdmin(ManyRowsAdmin, ReadOnlyAdmin):
    list_display = ("submission", "metric", "part", "mean", "std", "folds", "bagged")
    list_filter = ("raw_data", "part")
    list_select_related = ("submission",)
    search_fields = ("submission",)


@admin.register(Ensemble)
class EnsembleAdmin(ManyRowsAdmin, ReadOnlyAdmin):
    list_display = ("__str__", "state", "wanted", "done", "why")
    list_filter = ("raw_data",)
    list_select_related = ("raw_data", "submission", "job")
    search_fields = ("submission",)

    @admin.display
    def state(self, ensemble: Ensemble) -> str:
        return ensemble.job.state if ensemble.job else ""

    @admin.display
    def why(self, ensemble: Ensemble) -> str:
        """What it waits for, or why it failed."""
        if ensemble.job is None:
            return ""
        return str(waiting.explain(ensemble.job) or ensemble.job.message)


@admin.register(Replay)
class ReplayAdmin(ManyRowsAdmin, ReadOnlyAdmin):
    list_display = ("fold", "requested_at", "state", "summary")
    list_select_related = ("fold", "job")
    search_fields = ("fold",)

    @admin.display
    def state(self, replay: Replay) -> str:
        return replay.job.state

    @admin.display
    def summary(self, replay: Replay) -> str:
        return str((replay.result or {}).get("summary", replay.job.message))


def _folds_of(submissions: QuerySet[Submission]) -> QuerySet[SubmissionFold]:
    return SubmissionFold.objects.filter(databoard_s__in=submissions)


@admin.register(SubmissionFold)
class SubmissionFoldAdmin(ManyRowsAdmin, JobsAdmin):
    list_display = (
        "databoard_sf_id",
        "databoard_s",
        "fold_state",
        "runner",
        "priority",
        "new",
        "seconds",
        "why",
    )
    list_filter = ("job__state", "priority", "new", "databoard_s__raw_data")
    list_select_related = ("job", "databoard_s")
    search_fields = ("databoard_sf_id", "databoard_s")
    sortable_by = ("databoard_sf_id", "databoard_s")
    readonly_fields = ("fold_state", "waits", "log")

    @admin.display(description="state")
    def fold_state(self, fold: SubmissionFold) -> str:
        return fold.state

    @admin.display
    def runner(self, fold: SubmissionFold) -> str:
        return fold.job.runner

    @admin.display(description="training, s")
    def seconds(self, fold: SubmissionFold) -> str:
        return f"{fold.job.train_time:.3f}"

    @admin.display
    def log(self, fold: SubmissionFold) -> str:
        return format_html("<pre>{}</pre>", "\n".join(filter(None, (fold.job.message, jobs.log(fold.job)))))


class AttemptInline(TabularInline):
    """What became of earlier attempts."""

    model = Attempt
    fields = readonly_fields = (
        "number",
        "runner",
        "started_at",
        "ended_at",
        "outcome",
        "failure",
        "message",
    )
    can_delete = False
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class _QueueFilter(admin.SimpleListFilter):
    """Django's own would look at every job to know the queues."""

    title = parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in queues.ORDER_QUEUES]

    def queryset(self, request: HttpRequest, jobs: QuerySet[Job]) -> QuerySet[Job]:
        return jobs.filter(queue=self.value()) if self.value() else jobs


class _RunnerFilter(admin.SimpleListFilter):
    """The same for the runners."""

    title = parameter_name = "runner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in Runner.objects.order_by("name").values_list("name", flat=True)]

    def queryset(self, request: HttpRequest, jobs: QuerySet[Job]) -> QuerySet[Job]:
        return jobs.filter(runner=self.value()) if self.value() else jobs


@admin.register(Job)
class JobAdmin(ManyRowsAdmin, ReadOnlyAdmin):
    list_display = (
        "id",
        "kind",
        "queue",
        "state",
        "stage",
        "attempt",
        "runner",
        "failure",
        "created_at",
        "finished_at",
    )
    list_filter = ("state", "kind", _QueueFilter, "failure", _RunnerFilter)
    search_fields = sortable_by = ("id",)
    readonly_fields = ("waits",)
    inlines = (AttemptInline,)

    @admin.display(description="waits for")
    def waits(self, job: Job) -> str:
        return str(waiting.explain(job) or "")


#: What a job is that belongs to no fold.
_WITHOUT_FOLD = {JobKind.PREPARE: "preparation", JobKind.ENSEMBLE: "ensemble", JobKind.FOLD: "replay"}


@admin.register(Runner)
class RunnerAdmin(ReadOnlyAdmin):
    list_display = ("name", "state", "served", "slots", "busy", "last_seen", "packages", "trusts")
    readonly_fields = ("state", "runs")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Runner]:
        return runners.known()

    @admin.display
    def state(self, runner: Any) -> str:
        return str(runner.state)

    @admin.display
    def busy(self, runner: Any) -> int:
        return len(runner.runs)

    @admin.display
    def runs(self, runner: Any) -> str:
        return ", ".join(
            f"{_WITHOUT_FOLD[job['kind']]} (job {job['task_id']})"
            if job["databoard_sf_id"] is None
            else f"fold {job['databoard_sf_id']} of submission {job['databoard_s']}"
            for job in runner.runs
        )

    @admin.display(description="queues")
    def served(self, runner: Runner) -> str:
        return ", ".join(runner.queues)

    @admin.display(description="trusts submissions", empty_value="no")
    def trusts(self, runner: Runner) -> str | None:
        return f"yes: not protected are {', '.join(runner.unprotected)}" if runner.unprotected else None

    @admin.display(description="versions")
    def packages(self, runner: Runner) -> str:
        return ", ".join(f"{name} {version}" for name, version in sorted(runner.versions.items()))


@admin.register(RunnerToken)
class RunnerTokenAdmin(ReadOnlyAdmin):
    list_display = ("name", "created_at")


class _ReasonFilter(admin.SimpleListFilter):
    """The same for the reasons to drop a message."""

    title = parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(reason, reason) for reason in metrics.reasons_to_drop()]

    def queryset(self, request: HttpRequest, dropped: QuerySet[Dropped]) -> QuerySet[Dropped]:
        return dropped.filter(reason=self.value()) if self.value() else dropped


@admin.register(AccessToken)
class AccessTokenAdmin(ReadOnlyAdmin):
    """Of users; deleting one revokes it."""

    list_display = ("name", "user", "created_at", "expires_at")
    list_select_related = ("user",)
    search_fields = ("name", "user__username")


@admin.register(Dropped)
class DroppedAdmin(ManyRowsAdmin, ReadOnlyAdmin):
    list_display = ("at", "reason", "runner", "job", "detail")
    list_filter = (_ReasonFilter,)
    search_fields = ("job",)
    sortable_by = ("at",)
