"""The admin pages. They show and edit rows; jobs change state through `runapp.states` only."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from .models import (
    Attempt,
    Dropped,
    Job,
    PreparedData,
    RawData,
    Runner,
    RunnerToken,
    Submission,
    SubmissionFold,
)
from .services import jobs, runners, waiting

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


@admin.register(PreparedData)
class PreparedDataAdmin(ReadOnlyAdmin):
    list_display = ("raw_data", "held_out_test", "random_state", "n_train", "n_test", "state", "requested_at")
    list_select_related = ("raw_data", "job")

    @admin.display(ordering="job__state")
    def state(self, version: PreparedData) -> str:
        return version.job.state


@admin.register(Submission)
class SubmissionAdmin(ReadOnlyAdmin):
    list_display = ("databoard_s_id", "raw_data", "owner", "created_at")
    list_filter = ("raw_data",)
    list_select_related = ("raw_data", "owner")
    search_fields = ("databoard_s_id",)


@admin.register(SubmissionFold)
class SubmissionFoldAdmin(ReadOnlyAdmin):
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
    search_fields = ("databoard_sf_id", "databoard_s__databoard_s_id")
    readonly_fields = ("fold_state", "waits", "log")
    show_full_result_count = False
    actions = ("cancel", "rerun")

    @admin.action(description="Cancel the selected folds")
    def cancel(self, request: HttpRequest, folds: QuerySet[SubmissionFold]) -> None:
        number = jobs.cancel(folds)
        self.message_user(
            request, f"{number} folds cancelled; running ones end when their runners confirm it."
        )

    @admin.action(description="Run the selected folds again")
    def rerun(self, request: HttpRequest, folds: QuerySet[SubmissionFold]) -> None:
        self.message_user(request, f"{jobs.rerun(folds)} folds run again.")

    @admin.display(description="waits for")
    def waits(self, fold: SubmissionFold) -> str:
        return str(waiting.explain(fold.job) or "")

    @admin.display(description="state", ordering="job__state")
    def fold_state(self, fold: SubmissionFold) -> str:
        return fold.state

    @admin.display(ordering="job__runner")
    def runner(self, fold: SubmissionFold) -> str:
        return fold.job.runner

    @admin.display(description="training, s", ordering="train_time")
    def seconds(self, fold: SubmissionFold) -> str:
        return f"{fold.train_time:.3f}"

    @admin.display
    def why(self, fold: SubmissionFold) -> str:
        """The last line of the reason: a traceback ends with what went wrong."""
        lines = fold.job.message.strip().splitlines()
        return f"{fold.job.failure}: {lines[-1][:120]}" if lines else ""

    @admin.display
    def log(self, fold: SubmissionFold) -> str:
        return format_html("<pre>{}</pre>", "\n".join(filter(None, (fold.job.message, jobs.log(fold.job)))))


class AttemptInline(TabularInline):
    """What became of earlier attempts."""

    model = Attempt
    fields = readonly_fields = ("number", "runner", "started_at", "ended_at", "failure", "message")
    can_delete = False
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
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
    list_filter = ("state", "kind", "queue", "failure", "runner")
    search_fields = ("id",)
    date_hierarchy = "created_at"
    show_full_result_count = False
    inlines = (AttemptInline,)


@admin.register(Runner)
class RunnerAdmin(ReadOnlyAdmin):
    list_display = ("name", "served", "slots", "busy", "state", "last_seen", "packages")

    @admin.display
    def state(self, runner: Runner) -> str:
        return runners.state(runner)

    @admin.display
    def busy(self, runner: Runner) -> int:
        return len(runner.running)

    @admin.display(description="queues")
    def served(self, runner: Runner) -> str:
        return ", ".join(runner.queues)

    @admin.display(description="versions")
    def packages(self, runner: Runner) -> str:
        return ", ".join(f"{name} {version}" for name, version in sorted(runner.versions.items()))


@admin.register(RunnerToken)
class RunnerTokenAdmin(ReadOnlyAdmin):
    list_display = ("name", "created_at")


@admin.register(Dropped)
class DroppedAdmin(ReadOnlyAdmin):
    list_display = ("at", "reason", "runner", "job", "detail")
    list_filter = ("reason",)
    date_hierarchy = "at"
    show_full_result_count = False
