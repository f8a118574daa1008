"""How bytes and arrays travel in JSON: base64 text of zlib-compressed bytes.

Decoding is bounded while it decompresses, so that a decompression bomb costs no more than the limit.
"""

import base64
import binascii
import zlib

import numpy as np
from numpy.typing import NDArray


class TransferError(ValueError):
    """The text is not base64 of zlib-compressed bytes, or holds too much; says which."""


def compress(content: bytes) -> str:
    """base64(zlib(content)) as ASCII text."""
    return base64.b64encode(zlib.compress(content, 1)).decode("ascii")


def decompress(text: object, limit: int) -> bytes:
    """The bytes in `text`, at most `limit` of them.

    Raises
    ------
    TransferError
        `text` is no string, not base64, not zlib, cut short, or holds more than `limit` bytes.
    """
    if not isinstance(text, str):
        raise TransferError("Not text: send base64(zlib(bytes)).")
    try:
        packed = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise TransferError("Not base64: send base64(zlib(bytes)).") from error
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(packed, limit + 1)
    except zlib.error as error:
        raise TransferError("Not zlib: send base64(zlib(bytes)).") from error
    if len(content) > limit:
        raise TransferError(f"Larger than {limit} bytes when decompressed.")
    if not inflater.eof:
        raise TransferError("The zlib data is cut short: send the whole of base64(zlib(bytes)).")
    if inflater.unused_data:
        raise TransferError("There are bytes behind the end of the zlib data.")
    return content


def compress_array(array: NDArray[np.float64]) -> str:
    """base64(zlib(float64 C-order little-endian bytes)) of predictions of any shape."""
    return compress(np.ascontiguousarray(array, dtype="<f8").tobytes())


def compress_indices(indices: NDArray[np.int64]) -> str:
    """base64(zlib(int64 little-endian bytes)) of a one-dimensional index array."""
    return compress(np.ascontiguousarray(indices, dtype="<i8").tobytes())


def decompress_indices(text: object, limit: int) -> NDArray[np.int64]:
    """The one-dimensional int64 array in `text`, at most `limit` bytes; raises `TransferError`."""
    content = decompress(text, limit)
    if len(content) % 8:
        raise TransferError(f"{len(content)} bytes are no whole number of int64 values.")
    return np.frombuffer(content, dtype="<i8").astype(np.int64)
