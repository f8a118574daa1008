"""Labels on their way from loader to supervisor to child: numbers as `.npy`, anything else as a list in JSON."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarun.contract import npy

_NUMBERS = "biuf"


def dumps(y: NDArray[Any]) -> bytes:
    """`y` of numbers; or of shape (rows,), of what a csv can hold: text, numbers, truth values, nothing."""
    if y.dtype.kind in _NUMBERS:
        return npy.dumps(y)
    return b"\n" + json.dumps(y.tolist()).encode()


def loads(content: bytes) -> NDArray[Any]:
    """The array that `dumps` was given: numbers of its dtype and shape, otherwise objects. Executes nothing.

    Raises
    ------
    ValueError
        `content` is nothing that `dumps` makes.
    """
    if not content.startswith(b"\n"):
        numbers = npy.loads(content)
        if numbers.dtype.kind not in _NUMBERS:
            raise ValueError(f"labels of {numbers.dtype}")
        return numbers
    values = json.loads(content)
    y = np.empty(len(values), dtype=object)
    y[:] = values
    return y
