"""Arrays as `.npy` bytes, read without pickle and without trusting the header's shape.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

import io
import math
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray


class NpyError(ValueError):
    """The bytes are no `.npy` array of plain numbers."""


def dumps(array: NDArray[Any]) -> bytes:
    """`array` (any numeric dtype and shape) as `.npy` bytes, in C order."""
    buffer = io.BytesIO()
    npy_format.write_array(buffer, np.asarray(array, order="C"), allow_pickle=False)
    return buffer.getvalue()


def loads(content: bytes) -> NDArray[Any]:
    """The array in `content`; its own memory, C order.

    Raises
    ------
    NpyError
        Not `.npy`, not of numbers or booleans, or of a shape that doesn't fit the number of bytes.
    """
    buffer = io.BytesIO(content)
    try:
        version = npy_format.read_magic(buffer)
        readers = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
        if version not in readers:
            raise NpyError(f"unknown .npy version {version}")
        shape, fortran_order, dtype = readers[version](buffer)
    except NpyError:
        raise
    except Exception as error:  # the header is a Python literal: numpy raises whatever parsing it raises
        raise NpyError(f"not a .npy array: {error}") from error
    if dtype.kind not in "biufc":
        raise NpyError(f"an array of {dtype}, not of numbers")
    start = buffer.tell()
    if any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize != len(content) - start:
        raise NpyError(f"shape {shape} of {dtype} doesn't fit {len(content) - start} bytes")
    flat = np.frombuffer(content, dtype=dtype, offset=start)
    try:
        return flat.reshape(shape, order="F" if fortran_order else "C").copy(order="C")
    except ValueError as error:  # beside a side of zero, others fit that no array can have
        raise NpyError(f"shape {shape} of {dtype} is too large") from error
