"""What answers about data sets, submissions, folds, jobs and runners look like, and what is sent to make them."""

from typing import Any

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from datarun.contract import queues
from datarun.contract.states import JobKind, JobState
from runapp.api.serializers import Text
from runapp.services import catalogue

_LONGEST = 30 * 24 * 3600  # seconds
_MAX_SEED = 2**32 - 1  # what numpy and scikit-learn accept
_MAX = 2**53  # what JSON numbers hold everywhere


class Shape(serializers.Serializer[Any]):
    """Named in the schema without its ending, as what it is of."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        extend_schema_serializer(component_name=cls.__name__.removesuffix("Out"))(cls)


@extend_schema_field({"type": "array", "items": {"type": "string"}})
class Names(serializers.Field[Any, Any, Any, Any]):
    """A list of names, or a text with commas between them."""

    def to_internal_value(self, data: Any) -> list[str]:
        names = data.split(",") if isinstance(data, str) else data
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise serializers.ValidationError(["Send a list of names."])
        return [name.strip() for name in names if name.strip()]

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field({"type": "object", "additionalProperties": {}})
class AnyObject(serializers.JSONField):
    """A JSON object, whose meaning is for services to check."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, dict):
            raise serializers.ValidationError(["Send a JSON object."])
        return data


@extend_schema_field(
    {
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": {"type": "number", "nullable": True},
            },
        },
    }
)
class Together(serializers.JSONField):
    """part → metric → mean, std, bagged."""


@extend_schema_field(
    {
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "additionalProperties": {"type": "number", "nullable": True},
        },
    }
)
class OfFold(serializers.JSONField):
    """part → metric → value."""


class Limits(Shape):
    submissions_per_day = serializers.IntegerField(
        min_value=0, max_value=_MAX, required=False, allow_null=True, help_text="Of a user."
    )
    bytes = serializers.IntegerField(
        min_value=1, max_value=_MAX, required=False, allow_null=True, help_text="Of a submission's files."
    )
    folds = serializers.IntegerField(
        min_value=1, max_value=_MAX, required=False, allow_null=True, help_text="Of a user that wait or run."
    )


class NewDataset(Shape):
    name = Text(max_length=100)
    kind = serializers.ChoiceField(choices=catalogue.DATASET_KINDS, default="csv")
    target_column = Text(max_length=200, default="", allow_blank=True, trim_whitespace=False)
    elements = Names(default=list, help_text="The files that a submission brings, without .py.")
    held_out_test = serializers.FloatField(default=0.2, help_text="Share of the rows in the test part.")
    random_state = serializers.IntegerField(min_value=0, max_value=_MAX_SEED, default=42)
    cv = AnyObject(
        default=None,
        allow_null=True,
        help_text="{splitter, parameters, groups}, or {folds: [[train, test], …]}.",
    )
    metrics = Names(default=list, help_text="Names, the official one first.")
    time_limit = serializers.FloatField(min_value=1, max_value=_LONGEST, default=None, allow_null=True)
    soft_time_limit = serializers.FloatField(min_value=1, max_value=_LONGEST, default=None, allow_null=True)
    limits = Limits(default=dict)
    data_label = Text(
        max_length=100,
        default="",
        allow_blank=True,
        help_text="Which data of a kit to read, if it has several.",
    )
    submissions = serializers.BooleanField(default=False, help_text="Submit those that come with a kit.")
    upload = serializers.UUIDField(default=None, allow_null=True, help_text="A finished upload: csv, or zip.")
    file_name = Text(max_length=255, default=None, allow_null=True, help_text="Of the upload.")

    def validate_held_out_test(self, value: float) -> float:
        if not 0 < value < 1:
            raise serializers.ValidationError("It is a share of the rows: more than 0 and less than 1.")
        return value


class DatasetForm(NewDataset):
    """The same with files as parts of the form; `cv` and `limits` are JSON texts there, names have commas between."""

    file = serializers.FileField(
        required=False, help_text="The csv; the module and its files, or one zip of them."
    )


class DatasetPatch(Shape):
    limits = Limits(required=False)
    metrics = Names(required=False, help_text="Further ones are added; those that there are stay.")


class MetricOut(Shape):
    name = serializers.CharField()
    lower_is_better = serializers.BooleanField()


class DatasetOut(Shape):
    id = serializers.IntegerField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=catalogue.DATASET_KINDS)
    state = serializers.ChoiceField(choices=catalogue.DATASET_STATES)
    problem = serializers.CharField(allow_null=True, help_text="Why it could not be prepared.")
    owner = serializers.CharField(allow_null=True)
    target_column = serializers.CharField(allow_null=True)
    elements = serializers.ListField(child=serializers.CharField())
    metrics = MetricOut(many=True, help_text="The official one first.")
    cv = AnyObject(allow_null=True)
    held_out_test = serializers.FloatField(allow_null=True)
    random_state = serializers.IntegerField(allow_null=True)
    n_train = serializers.IntegerField(allow_null=True)
    n_test = serializers.IntegerField(allow_null=True)
    n_folds = serializers.IntegerField(allow_null=True)
    time_limit = serializers.FloatField(allow_null=True)
    soft_time_limit = serializers.FloatField(allow_null=True)
    limits = Limits()
    files = serializers.ListField(child=serializers.CharField())
    created_at = serializers.DateTimeField()
    closed_at = serializers.DateTimeField(allow_null=True)


@extend_schema_field({"type": "object", "additionalProperties": {"type": "string", "format": "byte"}})
class PackedFiles(AnyObject):
    """File name → base64."""


class NewSubmission(Shape):
    name = Text(max_length=200, default="", allow_blank=True)
    queue = serializers.ChoiceField(
        choices=queues.PRIORITIES, default=queues.LIGHT, help_text="L light, H heavy."
    )
    force = serializers.BooleanField(default=False, help_text="Submit the same code once more.")
    files = PackedFiles(default=None, allow_null=True)
    upload = serializers.UUIDField(default=None, allow_null=True, help_text="A finished upload: a zip.")
    file_name = Text(
        max_length=255, default=None, allow_null=True, help_text="Of the upload, if it is no zip."
    )


class SubmissionForm(Shape):
    name = Text(max_length=200, default="", allow_blank=True)
    queue = serializers.ChoiceField(choices=queues.PRIORITIES, default=queues.LIGHT)
    force = serializers.BooleanField(default=False)
    file = serializers.FileField(help_text="Several parts, or one zip.")


class CountsOut(Shape):
    done = serializers.IntegerField()
    failed = serializers.IntegerField(help_text="Cancelled ones too.")
    running = serializers.IntegerField()
    waiting = serializers.IntegerField()
    total = serializers.IntegerField()


class FailureOut(Shape):
    kind = serializers.CharField()
    message = serializers.CharField()


class SubmissionOut(Shape):
    id = serializers.IntegerField()
    name = serializers.CharField()
    dataset = serializers.CharField()
    user = serializers.CharField(allow_null=True)
    state = serializers.ChoiceField(choices=catalogue.SUBMISSION_STATES)
    folds = CountsOut()
    scores = Together(help_text="part → metric → mean, std and bagged, of the parts that you may see.")
    waiting = serializers.CharField(allow_null=True, help_text="Why it waits; null in lists.")
    failure = FailureOut(allow_null=True, help_text="Why it has no folds and gets none.")
    queue = serializers.CharField()
    created_at = serializers.DateTimeField()


class FileOut(Shape):
    name = serializers.CharField()
    sha256 = serializers.CharField()
    size = serializers.IntegerField()


class FoldOut(Shape):
    id = serializers.IntegerField()
    submission = serializers.IntegerField()
    number = serializers.IntegerField(allow_null=True, help_text="In the cross-validation, from 0.")
    state = serializers.ChoiceField(choices=catalogue.FOLD_STATES)
    stage = serializers.CharField(allow_blank=True)
    failure = serializers.CharField(allow_null=True, help_text="The failure kind.")
    message = serializers.CharField(allow_blank=True)
    scores = OfFold(help_text="part → metric → value, of the parts that you may see.")
    times = serializers.DictField(child=serializers.FloatField(), help_text="Seconds and MiB.")
    attempt = serializers.IntegerField()
    runner = serializers.CharField(allow_null=True)
    waiting = serializers.CharField(
        allow_null=True, help_text="Why it waits; in lists only of the first ones."
    )
    queue = serializers.CharField()
    job = serializers.UUIDField()
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class LogOut(Shape):
    text = serializers.CharField(allow_blank=True)
    next = serializers.IntegerField(help_text="The offset of what is to come, in bytes.")
    done = serializers.BooleanField(help_text="Nothing more is to come.")


class JobOut(Shape):
    id = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=[kind.value for kind in JobKind])
    queue = serializers.CharField()
    state = serializers.ChoiceField(choices=[state.value for state in JobState])
    stage = serializers.CharField(allow_blank=True)
    attempt = serializers.IntegerField()
    runner = serializers.CharField(allow_null=True)
    failure = serializers.CharField(allow_null=True)
    message = serializers.CharField(allow_null=True, help_text="Of failures of the platform's own only.")
    fold = serializers.IntegerField(allow_null=True)
    user = serializers.CharField(allow_null=True)
    waiting = serializers.CharField(allow_null=True, help_text="Why it waits; null in lists.")
    created_at = serializers.DateTimeField()
    queued_at = serializers.DateTimeField(allow_null=True)
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
