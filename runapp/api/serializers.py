"""What requests and answers look like. Shapes only: what a value means is for services to check."""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from datarun.contract import queues
from datarun.contract.messages import MEASURES
from datarun.contract.states import FoldState
from runapp.models import PreparedData, RawData, SubmissionFold
from runapp.services import blobs, predictions, waiting

_MAX_ID = 2**63 - 1
_LONGEST = 30 * 24 * 3600  # seconds
_MAX_SEED = 2**32 - 1  # what numpy and scikit-learn accept

_PACKED_INDICES = "base64(zlib(int64 little-endian bytes)): rows of the train part."
_PACKED_PREDICTIONS = "base64(zlib(float64 C-order bytes)); null for those of a kit that are ragged."


class Text(serializers.CharField):
    """Text as JSON text: a number is refused, not turned into digits."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


def environment_field() -> Text:
    return Text(
        max_length=32,
        default="",
        allow_blank=True,
        help_text='The environment of runners that it wants; "": their own Python.',
    )


class _Id(serializers.IntegerField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=0, max_value=_MAX_ID, **kwargs)

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool):
            self.fail("invalid")
        return super().to_internal_value(data)


@extend_schema_field({"oneOf": [{"type": "integer"}, {"type": "string"}]})
class IdOrName(serializers.Field[Any, Any, Any, Any]):
    """A row by its id, or by its name."""

    def to_internal_value(self, data: Any) -> int | str:
        field = Text(max_length=200) if isinstance(data, str) else _Id()
        value: int | str = field.run_validation(data)
        return value


class _Ids(serializers.ListField):
    """A list of ids; the first that is none is named in a sentence, like any other problem."""

    child = _Id()

    def to_internal_value(self, data: Any) -> list[int]:
        try:
            return super().to_internal_value(data)
        except serializers.ValidationError as error:
            if not isinstance(error.detail, dict):
                raise
            position, (problem, *_) = next(iter(error.detail.items()))
            raise serializers.ValidationError([f"At position {position}: {problem}"]) from error


class _AsPosted(serializers.Field[Any, Any, Any, Any]):
    """Any JSON value, taken as it is: `runapp.services.checks` says what is wrong with it."""

    def to_internal_value(self, data: Any) -> Any:
        return data


@extend_schema_field({"type": "string", "format": "byte"})
class Packed(_AsPosted):
    pass


@extend_schema_field({"type": "object", "additionalProperties": {"type": "string", "format": "byte"}})
class PackedFiles(_AsPosted):
    pass


@extend_schema_field(
    {
        "type": "object",
        "nullable": True,
        "description": (
            "How folds are cut: a splitter of scikit-learn with its parameters, and the column that names groups; "
            "or folds, each a pair of rows of the train part, as lists or base64(zlib(int64 little-endian bytes))."
        ),
        "properties": {
            "splitter": {"type": "string", "example": "StratifiedKFold"},
            "parameters": {"type": "object", "example": {"n_splits": 5}},
            "groups": {"type": "string", "nullable": True},
            "folds": {"type": "array", "items": {"type": "array", "items": {}, "minItems": 2, "maxItems": 2}},
        },
    }
)
class CrossValidationField(_AsPosted):
    pass


@extend_schema_field(
    {
        "oneOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}],
        "nullable": True,
        "description": "Names of scikit-learn's scorers or RAMP's score types, the official one first.",
    }
)
class MetricsField(_AsPosted):
    pass


class RawDataIn(serializers.Serializer[Any]):
    name = Text(max_length=100)
    target_column = Text(max_length=200, allow_blank=True, default="", trim_whitespace=False)
    workflow_elements = Text(
        max_length=200, help_text="Comma separated, e.g. 'feature_extractor, classifier'."
    )
    files = PackedFiles(help_text="File name → base64(zlib(bytes)).")
    cv = CrossValidationField(default=None, allow_null=True)
    metrics = MetricsField(default=None, allow_null=True)
    environment = environment_field()
    time_limit = serializers.FloatField(
        min_value=1,
        max_value=_LONGEST,
        default=None,
        allow_null=True,
        help_text="Seconds until a fold is killed.",
    )
    soft_time_limit = serializers.FloatField(
        min_value=1,
        max_value=_LONGEST,
        default=None,
        allow_null=True,
        help_text="Seconds until a fold is told to finish.",
    )


class RawDataOut(serializers.ModelSerializer[RawData]):
    files = serializers.SerializerMethodField(help_text="File names.")

    class Meta:
        model = RawData
        fields: tuple[str, ...] = (
            "id",
            "name",
            "target_column",
            "workflow_elements",
            "files",
            "cv",
            "metrics",
            "kit",
            "data_label",
            "time_limit",
            "soft_time_limit",
            "environment",
            "created_at",
            "closed_at",
        )

    def get_files(self, raw_data: RawData) -> list[str]:
        return sorted(raw_data.files)


class CustomSplitIn(serializers.Serializer[Any]):
    raw_data_id = _Id()


class SplitIn(CustomSplitIn):
    held_out_test = serializers.FloatField(help_text="Share of the rows for the test part, between 0 and 1.")
    random_state = serializers.IntegerField(min_value=0, max_value=_MAX_SEED, default=42)

    def validate_held_out_test(self, value: float) -> float:
        if not 0 < value < 1:
            raise serializers.ValidationError("It is a share of the rows: more than 0 and less than 1.")
        return value


class TaskOut(serializers.ModelSerializer[PreparedData]):
    task_id = serializers.UUIDField(source="job_id", help_text="The id of the job.")

    class Meta:
        model = PreparedData
        fields = ("task_id",)


class SubmissionFoldIn(serializers.Serializer[Any]):
    databoard_sf_id = _Id()
    databoard_s_id = _Id()
    train_is = Packed(help_text=_PACKED_INDICES)
    test_is = Packed(help_text=_PACKED_INDICES)
    priority = serializers.ChoiceField(
        choices=queues.PRIORITIES,
        default=queues.LIGHT,
        error_messages={"invalid_choice": "{input!r} is no priority: use L (light) or H (heavy)."},
    )
    force = Text(
        default="",
        allow_blank=True,
        allow_null=True,
        help_text="'submission_fold' or 'submission, submission_fold'.",
    )
    raw_data = _Id(default=None, allow_null=True, help_text="With a new submission.")
    files = PackedFiles(
        default=None, allow_null=True, help_text="With a new submission: file name → base64(zlib(bytes))."
    )


class SubmissionFoldLightOut(serializers.ModelSerializer[SubmissionFold]):
    state = serializers.ChoiceField(choices=[state.value for state in FoldState], read_only=True)

    class Meta:
        model = SubmissionFold
        fields: ClassVar[tuple[str, ...]] = ("databoard_sf_id", "databoard_s", "state", "new")


class PredictionsOut(SubmissionFoldLightOut):
    test_predictions = serializers.SerializerMethodField(help_text=_PACKED_PREDICTIONS)
    full_train_predictions = serializers.SerializerMethodField(help_text=_PACKED_PREDICTIONS)
    log_messages = serializers.CharField(read_only=True)
    train_time = serializers.FloatField(source="job.train_time", read_only=True)
    validation_time = serializers.FloatField(source="job.validation_time", read_only=True)
    test_time = serializers.FloatField(source="job.test_time", read_only=True)
    train_cpu_time = serializers.FloatField(source="job.train_cpu_time", read_only=True)
    test_cpu_time = serializers.FloatField(source="job.test_cpu_time", read_only=True)
    train_memory = serializers.FloatField(source="job.train_memory", read_only=True)
    test_memory = serializers.FloatField(source="job.test_memory", read_only=True)

    class Meta(SubmissionFoldLightOut.Meta):
        fields: ClassVar[tuple[str, ...]] = (
            "databoard_sf_id",
            "databoard_s",
            "test_predictions",
            "full_train_predictions",
            "state",
            "log_messages",
            *MEASURES,
        )

    def get_test_predictions(self, fold: SubmissionFold) -> str | None:
        return predictions.packed_test(fold)

    def get_full_train_predictions(self, fold: SubmissionFold) -> str | None:
        return predictions.packed_train(fold)


class SubmissionFoldOut(PredictionsOut):
    """Everything about a fold; in lists, predictions and indices are null."""

    task_id = serializers.UUIDField(source="job_id", help_text="The id of the job.")
    train_is = serializers.SerializerMethodField(help_text=_PACKED_INDICES)
    test_is = serializers.SerializerMethodField(help_text=_PACKED_INDICES)

    class Meta(PredictionsOut.Meta):
        fields: ClassVar[tuple[str, ...]] = (
            *PredictionsOut.Meta.fields,
            "new",
            "priority",
            "task_id",
            "train_is",
            "test_is",
        )

    def get_train_is(self, fold: SubmissionFold) -> str | None:
        return predictions.packed_bytes(blobs.content(fold.train_is))

    def get_test_is(self, fold: SubmissionFold) -> str | None:
        return predictions.packed_bytes(blobs.content(fold.test_is))


class PredictionListIn(serializers.Serializer[Any]):
    list_submission_fold = _Ids(help_text="Ids of submission folds.")


class PredictionNewIn(serializers.Serializer[Any]):
    raw_data_id = _Id(default=None, allow_null=True)
    limit = serializers.IntegerField(min_value=1, max_value=_MAX_ID, default=None, allow_null=True)


class WaitOut(serializers.Serializer[Any]):
    why = serializers.CharField()
    position = serializers.IntegerField(allow_null=True, help_text="In its queue, from 1.")
    seconds = serializers.FloatField(allow_null=True, help_text="Until it starts, from recent durations.")
    text = serializers.CharField(help_text="All of it in words.")


class WaitingOut(serializers.Serializer[Any]):
    waiting = WaitOut(allow_null=True)


class SubmissionFoldDetailOut(SubmissionFoldOut):
    """Everything about a fold, and why it waits if it does."""

    waiting = serializers.SerializerMethodField()

    class Meta(SubmissionFoldOut.Meta):
        fields: ClassVar[tuple[str, ...]] = (*SubmissionFoldOut.Meta.fields, "waiting")

    @extend_schema_field(WaitOut(allow_null=True))
    def get_waiting(self, fold: SubmissionFold) -> dict[str, Any] | None:
        reason = waiting.explain(fold.job)
        return None if reason is None else dict(WaitOut(reason).data)


class AttemptOut(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    runner = serializers.CharField()
    started_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    outcome = serializers.CharField()
    failure = serializers.CharField(help_text="The failure kind; empty where there was none.")
    message = serializers.CharField()
    log = serializers.CharField()


class LogOut(serializers.Serializer[Any]):
    log = serializers.CharField()


class RunningOut(serializers.Serializer[Any]):
    task_id = serializers.UUIDField(help_text="The id of the job.")
    databoard_sf_id = serializers.IntegerField(allow_null=True, help_text="Null for a preparation.")
    databoard_s = serializers.IntegerField(allow_null=True)


class RunnerOut(serializers.Serializer[Any]):
    name = serializers.CharField()
    state = serializers.CharField(help_text="live, draining, gone, or incompatible.")
    queues = serializers.ListField(child=serializers.CharField())
    slots = serializers.IntegerField(help_text="How many jobs it runs at a time.")
    runs = RunningOut(many=True)
    versions = serializers.DictField(child=serializers.CharField())
    environments = serializers.DictField(
        child=serializers.DictField(), help_text="What it offers beside its own Python: name → versions."
    )
    unprotected = serializers.ListField(
        child=serializers.CharField(),
        help_text="What does not keep submissions in there: it was told to trust them.",
    )
    last_seen = serializers.DateTimeField(allow_null=True)


class NumberOut(serializers.Serializer[Any]):
    jobs = serializers.IntegerField(help_text="How many jobs this concerned.")


class RerunIn(serializers.Serializer[Any]):
    failed_only = serializers.BooleanField(default=False)
