"""Tracebacks as submitters want them: from their own file on, without our frames and folders."""

import importlib
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

_OURS = str(Path(__file__).absolute().parent.parent)
_IMPORTING = ("<frozen importlib", str(Path(importlib.__file__).parent))
#: What only tells how a kit's workflow has come to the submission.
_RAMP_WORKFLOW = "/site-packages/rampwf/"
_LONGEST = 64 * 1024


def describe(error: BaseException, places: Sequence[Path]) -> str:
    """The traceback of `error` and of what led to it, each from the submission's or the organiser's file on.

    `places` are the folders that these files are in: whose frames matter most comes first. An error of our own
    is a sentence that needs no traceback.
    """
    if type(error).__module__.startswith("datarun."):
        return str(error)
    described = traceback.TracebackException.from_exception(error)
    for part in _chain(described):
        # A syntax error names its own file: the frames above it only tell who imported that.
        named = any(str(getattr(part, "filename", "")).startswith(f"{place}/") for place in places)
        part.stack = traceback.StackSummary() if named else _from_place_on(part.stack, places)
    text = "".join(described.format())
    for place in places:
        text = text.replace(f"{place}/", "")
    return text[-_LONGEST:].strip()


def _chain(described: traceback.TracebackException | None) -> Iterator[traceback.TracebackException]:
    while described is not None:
        yield described
        described = described.__cause__ or described.__context__


def _from_place_on(stack: traceback.StackSummary, places: Sequence[Path]) -> traceback.StackSummary:
    frames = [frame for frame in stack if not frame.filename.startswith((*_IMPORTING, _OURS))]
    for place in places:
        for number, frame in enumerate(frames):
            if frame.filename.startswith(f"{place}/"):
                return traceback.StackSummary.from_list(frames[number:])
    return traceback.StackSummary.from_list([f for f in frames if _RAMP_WORKFLOW not in f.filename])
