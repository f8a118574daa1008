"""Watching a submission: bars in a terminal, a table in a notebook, a line for each change where there is neither."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

from .resources import Fold, Submission

#: Shows a submission; the second argument reads its folds.
Show = Callable[[Submission, Callable[[], Sequence[Fold]]], None]


@contextmanager
def watching(progress: bool, console: Any = None) -> Iterator[Show]:
    """What to call whenever a submission was read; `console` is rich's, by default one on standard error."""
    if not progress:
        yield lambda submission, folds: None
    elif (display := _notebook()) is not None:
        yield _Notebook(display)
    else:
        from rich.console import Console

        console = console or Console(stderr=True)
        if not console.is_terminal:
            yield _Lines(console)
            return
        from rich.live import Live

        with Live(console=console, refresh_per_second=8, transient=False) as live:
            yield _Terminal(live)


class _Terminal:
    def __init__(self, live: Any) -> None:
        self._live = live

    def __call__(self, submission: Submission, folds: Callable[[], Sequence[Fold]]) -> None:
        from .render import SubmissionView

        # A copy, for it is drawn again while the submission is read again.
        self._live.update(SubmissionView(copy(submission), folds()))


class _Lines:
    def __init__(self, console: Any) -> None:
        self._console, self._known, self._named = console, dict[int, str](), False

    def __call__(self, submission: Submission, folds: Callable[[], Sequence[Fold]]) -> None:
        from . import render

        if not self._named:
            self._named = True
            self._console.print(
                f"{submission.name} to {submission.dataset} (submission {submission.id})", markup=False
            )
        for fold in folds():
            # That it gets on in its queue is no news here.
            state = "waiting" if fold.state == "waiting" else render.line(fold)
            if self._known.get(fold.id, "waiting") != state:
                self._console.print(render.line(fold), markup=False, highlight=False, soft_wrap=True)
            self._known[fold.id] = state


class _Notebook:
    def __init__(self, display: Callable[..., Any]) -> None:
        self._display, self._handle = display, None

    def __call__(self, submission: Submission, folds: Callable[[], Sequence[Fold]]) -> None:
        from IPython.display import HTML

        shown = HTML(submission.card(folds()))
        if self._handle is None:
            self._handle = self._display(shown, display_id=True)
        else:
            self._handle.update(shown)


def _notebook() -> Callable[..., Any] | None:
    """IPython's `display`, in a notebook."""
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython
    from IPython.display import display

    shell = get_ipython()
    return display if shell is not None and shell.__class__.__name__ == "ZMQInteractiveShell" else None
