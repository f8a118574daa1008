"""Bytes and arrays in JSON: exact, and bounded while they are decompressed."""

import base64
import gzip
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datarun.contract.transfer import (
    TransferError,
    compress,
    compress_array,
    compress_indices,
    decompress,
    decompress_indices,
)

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")

MIB = 1 << 20
INDICES = hnp.arrays(np.int64, st.integers(0, 20))


def packed(content: bytes) -> str:
    return base64.b64encode(content).decode()


def unpacked(text: str) -> bytes:
    """How any client reads it."""
    return zlib.decompress(base64.b64decode(text))


@given(st.binary())
def test_bytes_arrive(content: bytes) -> None:
    assert decompress(compress(content), len(content)) == content
    assert unpacked(compress(content)) == content


@pytest.mark.parametrize("level", range(10))
def test_every_level_of_compression_is_read(level: int) -> None:
    content = b"datarun" * 1000
    assert decompress(packed(zlib.compress(content, level)), 7000) == content


@given(st.binary(min_size=1))
def test_the_limit_is_exact(content: bytes) -> None:
    assert decompress(compress(content), len(content)) == content
    with pytest.raises(TransferError, match=f"Larger than {len(content) - 1} bytes"):
        decompress(compress(content), len(content) - 1)


@pytest.mark.parametrize("limit", [0, 1, MIB])
def test_a_decompression_bomb_costs_no_more_than_the_limit(limit: int) -> None:
    bomb = packed(zlib.compress(bytes(64 * MIB), 9))
    tracemalloc.start()
    try:
        with pytest.raises(TransferError, match="Larger"):
            decompress(bomb, limit)
        assert tracemalloc.get_traced_memory()[1] < 2 * limit + MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "Not text"),
        (b"eJwDAAAAAAE=", "Not text"),
        (7, "Not text"),
        ({}, "Not text"),
        ("not base64!", "Not base64"),
        ("eJwDAAAAAAE", "Not base64"),
        ("é", "Not base64"),
        ("\0", "Not base64"),
        ("", "cut short"),
        (packed(b"plain"), "Not zlib"),
        (packed(gzip.compress(b"plain")), "Not zlib"),
        (packed(zlib.compress(b"plain")[2:]), "Not zlib"),
        (packed(zlib.compress(b"plain")[:-1]), "cut short"),
        (packed(zlib.compress(b"plain")[:-4] + b"\0\0\0\0"), "Not zlib"),
        (packed(zlib.compress(b"plain") + b"more"), "behind"),
        (packed(zlib.compress(b"plain") * 2), "behind"),
    ],
)
def test_what_is_no_base64_of_zlib_is_refused_and_says_so(text: object, reason: str) -> None:
    with pytest.raises(TransferError, match=reason):
        decompress(text, MIB)


@given(st.text() | st.binary().map(packed))
def test_any_text_is_decoded_or_refused(text: str) -> None:
    try:
        assert len(decompress(text, 100)) <= 100
    except TransferError:
        return


@given(hnp.arrays(np.float64, hnp.array_shapes(max_dims=2)))
def test_predictions_travel_as_little_endian_float64_in_c_order(array: np.ndarray) -> None:
    for layout in (array, np.asfortranarray(array), array.astype(">f8"), np.repeat(array, 2, axis=0)[::2]):
        assert unpacked(compress_array(layout)) == array.astype("<f8").tobytes()


@given(INDICES)
def test_indices_arrive(indices: np.ndarray) -> None:
    arrived = decompress_indices(compress_indices(indices), 8 * 20)
    assert arrived.dtype == np.int64
    assert arrived.ndim == 1
    np.testing.assert_array_equal(arrived, indices)


@given(INDICES)
def test_indices_travel_as_little_endian_int64(indices: np.ndarray) -> None:
    for layout in (indices, indices.astype(">i8"), np.repeat(indices, 2)[::2]):
        assert unpacked(compress_indices(layout)) == indices.astype("<i8").tobytes()


def test_bytes_that_are_no_whole_indices_are_refused() -> None:
    with pytest.raises(TransferError, match="9 bytes"):
        decompress_indices(compress(bytes(9)), MIB)


def test_more_indices_than_allowed_are_refused() -> None:
    with pytest.raises(TransferError, match="Larger than 16 bytes"):
        decompress_indices(compress_indices(np.arange(3)), 16)
