"""Arrays as `.npy` bytes: exact for numbers of every kind, and safe to read from anyone."""

import io
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datarun.contract import npy

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")

NUMERIC = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?"),
    hnp.complex_number_dtypes(endianness="?"),
)
ARRAYS = hnp.arrays(NUMERIC, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))


def saved(array: Any) -> bytes:
    """What numpy itself writes."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def claiming(descr: Any, shape: Any, body: bytes = b"", fortran: bool = False) -> bytes:
    """Bytes whose header says what it likes."""
    return with_header(f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {shape!r}}}", body)


def with_header(header: str, body: bytes = b"") -> bytes:
    text = header.encode("latin-1") + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


@given(ARRAYS)
def test_numbers_of_every_kind_and_shape_arrive(array: np.ndarray) -> None:
    assert same(npy.loads(npy.dumps(array)), array)


@given(ARRAYS)
def test_numpy_reads_what_we_write_and_we_read_what_numpy_writes(array: np.ndarray) -> None:
    assert same(np.load(io.BytesIO(npy.dumps(array)), allow_pickle=False), array)
    assert same(npy.loads(saved(array)), array)


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_arrives_in_the_order_of_its_memory(order: str) -> None:
    array = np.array(np.arange(6.0).reshape(2, 3), order=order)
    assert npy.dumps(array) == saved(array)
    loaded = npy.loads(npy.dumps(array))
    assert loaded.flags[f"{order}_CONTIGUOUS"]
    np.testing.assert_array_equal(loaded, array)


def test_a_strided_array_arrives() -> None:
    array = np.arange(20).reshape(4, 5)[::2, ::-2]
    np.testing.assert_array_equal(npy.loads(npy.dumps(array)), array)


def test_what_is_read_has_memory_of_its_own() -> None:
    loaded = npy.loads(npy.dumps(np.zeros(3)))
    loaded[0] = 1.0
    assert loaded.flags.owndata


@pytest.mark.parametrize(
    "shape",
    [
        (10**12,),
        (2**31, 2**31),
        (2**64 + 1,),  # one, to who counts in 64 bits
        (2**32, 2**32),  # zero, to who counts in 64 bits
        (0, 2**62),
        (0, 2**70),
        (3,),
        (),
        (-1,),
        (-1, -1),
        (-8, -1, 8),
        (1.0,),
        ("1",),
        1,
        None,
    ],
)
def test_a_shape_that_does_not_fit_the_bytes_is_refused_without_allocating(shape: Any) -> None:
    content = claiming("<f8", shape, b"\0" * (0 if shape in ((), (0, 2**62), (0, 2**70)) else 8))
    tracemalloc.start()
    try:
        with pytest.raises(npy.NpyError):
            npy.loads(content)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "array",
    [
        np.array([{"a": 1}], dtype=object),
        np.array([(1, 2.0)], dtype=[("a", "<i4"), ("b", "<f8")]),
        np.array([(object(),)], dtype=[("a", "O")]),
        np.array(["text"]),
        np.array([b"bytes"]),
        np.array(["2020-01-01"], dtype="datetime64[D]"),
        np.array([1], dtype="timedelta64[s]"),
        np.zeros(1, dtype="V8"),
    ],
    ids=lambda array: str(array.dtype),
)
def test_what_is_no_number_is_refused(array: np.ndarray) -> None:
    with pytest.raises(npy.NpyError):
        npy.loads(saved(array))


@pytest.mark.parametrize(
    "descr", ["|O", "<U0", "|V0", "|S0", "<f8,<f8", "(2,)<f8", "O8", "nonsense", 8, None, ()]
)
def test_a_type_that_is_no_number_is_refused_whatever_its_size(descr: Any) -> None:
    for shape in ((1,), (0,), (10**12,)):
        with pytest.raises(npy.NpyError):
            npy.loads(claiming(descr, shape))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"PK\x03\x04",
        b"\x93NUMPY\x01\x00\xff\xff{",
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
        b"\x93NUMPY\x03\x00\x02\x00\x00\x00{}",
        b"\x93NUMPY\x09\x09\x02\x00{}",
        with_header("{}"),
        with_header("[]"),
        with_header("{'descr': '<f8', 'shape': (0,)}"),
        with_header("__import__('os').getpid()"),
        with_header("(" * 5000),
        with_header("{" + "[" * 2000 + "]" * 2000 + ": 1}"),
        with_header("\0"),
        with_header(" " * 60_000),
        claiming("<f8", (1,), b"\0" * 9),
    ],
)
def test_what_is_no_npy_is_refused(content: bytes) -> None:
    with pytest.raises(npy.NpyError):
        npy.loads(content)


@given(ARRAYS, st.data())
def test_an_array_cut_short_is_refused(array: np.ndarray, data: st.DataObject) -> None:
    content = npy.dumps(array)
    length = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(npy.NpyError):
        npy.loads(content[:length])


@given(ARRAYS, st.data())
def test_changed_bytes_are_an_array_or_refused(array: np.ndarray, data: st.DataObject) -> None:
    content = bytearray(npy.dumps(array))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, min(len(content), 140)))
        content[start : start + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        loaded = npy.loads(bytes(content))
    except npy.NpyError:
        return
    assert loaded.dtype.kind in "biufc"


def test_objects_are_never_written() -> None:
    with pytest.raises(ValueError, match="pickle"):
        npy.dumps(np.array([{}], dtype=object))
