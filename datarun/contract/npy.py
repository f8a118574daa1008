"""Arrays as `.npy` bytes, read without pickle and without trusting the header's shape.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

import io
import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

#: How long a header is unless the array has many dimensions.
_USUAL = 128


class NpyError(ValueError):
    """The bytes are no `.npy` array of plain numbers."""


def dumps(array: NDArray[Any]) -> bytes:
    """`array` (any numeric dtype and shape) as `.npy` bytes, in Fortran order if its memory is, otherwise in C order.

    Sums depend on the order in their last bits.
    """
    array = np.asarray(array)
    if not array.flags.forc:
        array = array.copy(order="K")
    fortran_order = array.flags.fnc
    return _header(array.dtype, array.shape, fortran_order) + array.tobytes("F" if fortran_order else "C")


def loads(content: bytes) -> NDArray[Any]:
    """The array in `content`; its own memory, in the order that it was written in.

    Raises
    ------
    NpyError
        Not `.npy`, not of numbers or booleans, or of a shape that doesn't fit the number of bytes.
    """
    try:
        shape, fortran_order, dtype, start = _parse(content[:_USUAL])
    except NpyError:
        shape, fortran_order, dtype, start = _parse.__wrapped__(content)
    if dtype.kind not in "biufc":
        raise NpyError(f"an array of {dtype}, not of numbers")
    if any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize != len(content) - start:
        raise NpyError(f"shape {shape} of {dtype} doesn't fit {len(content) - start} bytes")
    flat = np.frombuffer(content, dtype=dtype, offset=start)
    try:
        return flat.reshape(shape, order="F" if fortran_order else "C").copy(order="K")
    except ValueError as error:  # beside a side of zero, others fit that no array can have
        raise NpyError(f"shape {shape} of {dtype} is too large") from error


@lru_cache(maxsize=256)
def _header(dtype: np.dtype[Any], shape: tuple[int, ...], fortran_order: bool) -> bytes:
    """What stands before the numbers. Many arrays have the same, and making it takes longer than copying them."""
    if dtype.hasobject:
        raise ValueError(f"an array of {dtype} would have to be pickled")
    buffer = io.BytesIO()
    described = {"descr": npy_format.dtype_to_descr(dtype), "fortran_order": fortran_order, "shape": shape}
    npy_format.write_array_header_1_0(buffer, described)
    return buffer.getvalue()


@lru_cache(maxsize=256)
def _parse(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether in Fortran order, type of the numbers, and where they start. Parsing takes longer than copying."""
    buffer = io.BytesIO(content)
    try:
        version = npy_format.read_magic(buffer)
        readers = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
        if version not in readers:
            raise NpyError(f"unknown .npy version {version}")
        return (*readers[version](buffer), buffer.tell())
    except NpyError:
        raise
    except Exception as error:  # the header is a Python literal: numpy raises whatever parsing it raises
        raise NpyError(f"not a .npy array: {error}") from error
