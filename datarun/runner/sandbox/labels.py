"""Labels on their way from loader to supervisor to child: numbers as .npy, anything else as a list in JSON."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarun.contract import npy

_NUMBERS = b"n"
_VALUES = b"v"


def dumps(y: NDArray[Any]) -> bytes:
    """`y` of shape (rows,), of numbers or of what a csv can hold: text, numbers, truth values, nothing."""
    if y.dtype.kind in "biuf":
        return _NUMBERS + npy.dumps(y)
    return _VALUES + json.dumps(y.tolist()).encode()


def loads(content: bytes) -> NDArray[Any]:
    """The array that `dumps` was given: numbers of its dtype, otherwise objects. Executes nothing."""
    kind, body = content[:1], content[1:]
    if kind == _NUMBERS:
        return npy.loads(body)
    values = json.loads(body)
    y = np.empty(len(values), dtype=object)
    y[:] = values
    return y
