"""The bare loop: processes that have everything imported and loaded fork a child a task, and do nothing else.

No sandbox, limits, queue, database or network: what forking and the work itself cost.
"""

import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .workloads import SLOTS, fold


@contextmanager
def warm() -> Iterator[Callable[[Sequence[int]], list[Any]]]:
    """What gives the results of folds, from a forked child each, `SLOTS` at a time."""
    fold(0)  # some imports wait for the first use
    with multiprocessing.get_context("fork").Pool(SLOTS) as pool:
        yield lambda numbers: pool.map(in_child, numbers, chunksize=1)


def in_child(number: int) -> Any:
    """`fold(number)` as a child made it; it comes back through a pipe."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.close(reader)
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(fold(number), pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        result = pickle.load(pipe)
    os.waitpid(child, 0)
    return result
