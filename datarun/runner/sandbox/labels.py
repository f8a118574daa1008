"""Labels on their way from loader to supervisor to child: numbers as their bytes, anything else as a list in JSON."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray


def dumps(y: NDArray[Any]) -> bytes:
    """`y` of shape (rows,), of numbers or of what a csv can hold: text, numbers, truth values, nothing."""
    if y.dtype.kind in "biuf":
        return y.dtype.str.encode() + b"\n" + y.tobytes()
    return b"\n" + json.dumps(y.tolist()).encode()


def loads(content: bytes) -> NDArray[Any]:
    """The array that `dumps` was given: numbers of its dtype, otherwise objects. Executes nothing.

    Raises
    ------
    ValueError
        `content` is nothing that `dumps` makes.
    """
    kind, _, body = content.partition(b"\n")
    if kind:
        dtype = np.dtype(kind.decode())
        if dtype.kind not in "biuf":
            raise ValueError(f"labels of {dtype}")
        return np.frombuffer(body, dtype=dtype).copy()
    values = json.loads(body)
    y = np.empty(len(values), dtype=object)
    y[:] = values
    return y
