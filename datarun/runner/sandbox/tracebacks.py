"""Tracebacks as submitters want them: from their own file on, without our frames and folders."""

import importlib
import traceback
from collections.abc import Iterator
from pathlib import Path

from .folder import JobFolder

_OURS = str(Path(__file__).resolve().parent.parent)
_IMPORTING = ("<frozen importlib", str(Path(importlib.__file__).parent))
_LONGEST = 64 * 1024


def describe(error: BaseException, folder: JobFolder) -> str:
    """The traceback of `error` and of what led to it, each from the submission's or the organiser's file on.

    An error of our own is a sentence that needs no traceback.
    """
    if type(error).__module__.startswith("datarun."):
        return str(error)
    described = traceback.TracebackException.from_exception(error)
    for part in _chain(described):
        # A syntax error names its own file: the frames above it only tell who imported that.
        named = str(getattr(part, "filename", "")).startswith(f"{folder.root}/")
        part.stack = traceback.StackSummary() if named else _from_job_on(part.stack, folder)
    text = "".join(described.format())
    for place in (folder.submission, folder.data, folder.root):
        text = text.replace(f"{place}/", "")
    return text[-_LONGEST:].strip()


def _chain(described: traceback.TracebackException | None) -> Iterator[traceback.TracebackException]:
    while described is not None:
        yield described
        described = described.__cause__ or described.__context__


def _from_job_on(stack: traceback.StackSummary, folder: JobFolder) -> traceback.StackSummary:
    frames = [frame for frame in stack if not frame.filename.startswith(_IMPORTING)]
    for place in (folder.submission, folder.root):
        for number, frame in enumerate(frames):
            if frame.filename.startswith(f"{place}/"):
                return traceback.StackSummary.from_list(frames[number:])
    return traceback.StackSummary.from_list([f for f in frames if not f.filename.startswith(_OURS)])
