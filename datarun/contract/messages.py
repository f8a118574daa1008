"""The messages between master and runners: frozen, versioned values.

A message says what somebody wants or what happened; nothing here sends, stores or acts. No message
carries a password. Bytes are named by their sha256 and travel as blobs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from numpy.typing import NDArray

from .states import JobKind

#: Raised when a message changes so that the other side would misread it.
CONTRACT_VERSION = 3


#: What is measured of a fold, in seconds (`*_time`) and MiB (`*_memory`).
MEASURES = (
    *("train_time", "validation_time", "test_time"),
    *("train_cpu_time", "test_cpu_time", "train_memory", "test_memory"),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one job may use: seconds, and bytes of memory and scratch files of its whole process tree.

    At `soft` seconds the job is told by an exception, so that it can finish; at `wall` seconds it is killed.
    """

    wall: float
    memory: int
    soft: float | None = None
    cpu: float | None = None
    disk: int = 1 << 30


@dataclass(frozen=True, slots=True)
class Data:
    """A data set: its files, and how it is read.

    Without a custom module it is one csv file; once prepared, `train_rows` and `test_rows` name
    int64 arrays of row numbers of that csv. With one, `module` is its file's name and `files`
    includes what its `prepare_data` wrote. A RAMP kit's module is its `problem.py`; `files` are paths below the
    kit's folder. `n_train` and `n_test` count the rows of its two parts.
    """

    files: Mapping[str, str]
    target_column: str
    module: str | None = None
    train_rows: str | None = None
    test_rows: str | None = None
    n_train: int | None = None
    n_test: int | None = None
    kit: bool = False
    # Which of a kit's data to read, if its functions take such a label.
    data_label: str | None = None
    # The runner's environment that it wants; "": the runner's own Python.
    environment: str = ""


@dataclass(frozen=True, slots=True)
class FoldRows:
    """One CV fold: blobs of int64 arrays, the rows of the train part to train on and to validate on."""

    train_is: str
    test_is: str


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """How folds are cut: a splitter (`datarun.contract.splitters`) with its parameters, or given folds.

    `groups` is a column of the csv. A kit brings a `get_cv` of its own: then all of it is empty.
    """

    splitter: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    groups: str | None = None
    folds: tuple[FoldRows, ...] = ()


@dataclass(frozen=True, slots=True)
class PrepareOrder:
    """Prepare a data set: split a csv, or run the custom module's `prepare_data`; cut its folds.

    With a `cv`, or of a kit, the outcome's `blobs` have `cv/<number>/train_is` and `cv/<number>/test_is` for
    each fold, numbered from 0, and its `counts` have `n_folds`. `metrics` are tried on the labels. The outcome's
    `facts` of a kit are `title` (str), `elements` (list of str) and `metrics`: a list of objects with `name` and
    `lower_is_better`, the official one first.
    """

    job: str
    attempt: int
    data: Data
    limits: Limits
    held_out_test: float | None = None
    random_state: int | None = None
    # The workflow's: whether classes are wanted decides what folds and metrics must fit.
    elements: tuple[str, ...] = ()
    cv: CrossValidation | None = None
    metrics: tuple[str, ...] = ()
    # The runner that failed it last: it leaves the order to others.
    avoid: str = ""

    kind = JobKind.PREPARE


@dataclass(frozen=True, slots=True)
class FoldOrder:
    """Train a submission on one fold's training rows; predict the train part and the test part.

    With metrics, all three parts are scored: `train` (the fold's training rows), `valid` (its `test_is`), `test`.
    """

    job: str
    attempt: int
    data: Data
    limits: Limits
    # The ids of `fold` and `submission`: for logs only.
    about: Mapping[str, int]
    submission: Mapping[str, str]
    elements: tuple[str, ...]
    train_is: str
    # The rows to validate on, where metrics or a kit's workflow want them.
    test_is: str | None = None
    metrics: tuple[str, ...] = ()
    # Small blobs of the fold's own, base64 by sha256: they need not be fetched.
    enclosed: Mapping[str, str] = field(default_factory=dict)
    # The runner that failed it last: it leaves the order to others.
    avoid: str = ""

    kind = JobKind.FOLD


@dataclass(frozen=True, slots=True)
class Predicted:
    """What one submission predicted in the fold with this number: blobs, as `predictions` encodes them."""

    submission: int
    fold: int
    train: str
    test: str | None = None


@dataclass(frozen=True, slots=True)
class EnsembleOrder:
    """Score what submissions have predicted already, by each of them (bagging) or together (blending).

    Bagging, of one submission. The outcome's `facts`: `scores`, fold number → part → metric → value; `bagged`,
    part (`valid`, `test`) → metric → list of values, of the first fold, the first two folds, and so on, in the
    order of `predicted`.

    Blending, with `blend`: greedy selection with replacement on each fold (Caruana et al., ICML 2004) by the first
    metric. The outcome's `facts`: `contributivity`, submission → share, all of them together 1; `bagged`, part →
    metric → value of the combined folds.
    """

    job: str
    attempt: int
    data: Data
    limits: Limits
    metrics: tuple[str, ...]
    # By number; `predicted` names some of them.
    folds: tuple[FoldRows, ...]
    predicted: tuple[Predicted, ...]
    blend: bool = False
    enclosed: Mapping[str, str] = field(default_factory=dict)
    # The runner that failed it last: it leaves the order to others.
    avoid: str = ""

    kind = JobKind.ENSEMBLE


@dataclass(frozen=True, slots=True)
class Claim:
    """`runner` has taken the order for this attempt and starts it now."""

    job: str
    attempt: int
    runner: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended. `failure` is None when it succeeded.

    `message` is one paragraph or a traceback; `log` the tail of what the job printed. `measures` are some
    of `MEASURES`. `arrays` are predictions (`datarun.contract.predictions`): of the built-in workflow and of
    custom modules float64, (rows,) or (rows, columns). `array_blobs` name those that are too large for a
    message, or ragged. `blobs` name what else was uploaded, `counts` number rows. `scores` are those of a
    fold: part → metric → value. `facts` are JSON values: what the order asks for, and of a fold its record:
    `threads`, `seed`, `cpu`, `python`, `versions`. `next` is the order that this slot took since, if it did: said
    along, for a message of its own costs the broker as much as this one.
    """

    job: str
    attempt: int
    runner: str
    failure: str | None = None
    # How far it came (`datarun.contract.states.Stage`).
    stage: str = ""
    message: str = ""
    log: str = ""
    measures: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    blobs: Mapping[str, str] = field(default_factory=dict)
    array_blobs: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    next: Claim | None = None


@dataclass(frozen=True, slots=True)
class HandedBack:
    """The runner is leaving and ended the attempt unfinished: it is nobody's failure."""

    job: str
    attempt: int
    runner: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The runner was told to stop this attempt, and no process of it is left."""

    job: str
    attempt: int
    runner: str


@dataclass(frozen=True, slots=True)
class Stop:
    """What a runner is told through its control queue: end this attempt."""

    job: str
    attempt: int
    why: str


@dataclass(frozen=True, slots=True)
class StageReached:
    """A running fold has come this far (`datarun.contract.states.Stage`)."""

    job: str
    attempt: int
    runner: str
    stage: str


@dataclass(frozen=True, slots=True)
class LogChunk:
    """What a running job has printed, from byte `offset` of its log on."""

    job: str
    attempt: int
    runner: str
    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class Ping:
    """What a scheduler sends itself: hearing it back proves that all before it has been collected."""

    sender: str
    number: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A runner lives: what it serves, with what, and which jobs it runs now."""

    runner: str
    queues: tuple[str, ...]
    slots: int
    # Job → attempt.
    running: Mapping[str, int]
    versions: Mapping[str, str]
    leaving: bool = False
    # What does not keep submissions in on this machine, which was told to trust them.
    unprotected: tuple[str, ...] = ()
    # The environments that it offers beside its own: name → versions.
    environments: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


Order = PrepareOrder | FoldOrder | EnsembleOrder
Result = Claim | Outcome | HandedBack | Stopped
Event = StageReached | LogChunk | Heartbeat | Ping
Message = Order | Stop | Result | Event

MESSAGE_TYPES: Mapping[str, type[Any]] = {
    cls.__name__: cls for cls in (*get_args(Order), Stop, *get_args(Result), *get_args(Event))
}
