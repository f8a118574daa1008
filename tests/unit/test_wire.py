"""Messages as bytes: what is sent arrives, and bytes that are no message are refused, never a crash."""

import dataclasses
import io
import json
import types
from collections.abc import Mapping
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datarun.contract import npy, wire
from datarun.contract.messages import (
    CONTRACT_VERSION,
    MESSAGE_TYPES,
    Claim,
    Data,
    FoldOrder,
    Limits,
    Message,
    Outcome,
)

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")

TEXT = st.text(st.characters(), max_size=20)  # lone surrogates too: file names may hold them
PREDICTIONS = hnp.arrays(np.float64, hnp.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=5))
PLAIN = {
    str: TEXT,
    int: st.integers(),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    type(None): st.none(),
    np.ndarray: PREDICTIONS,
    # What JSON brings back as it was.
    Any: st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
        max_leaves=4,
    ),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Everything that a field of this type may hold."""
    origin, args = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint)
        return st.builds(hint, **{f.name: values(hints[f.name]) for f in dataclasses.fields(hint)})
    if origin is types.UnionType:
        return st.one_of(*map(values, args))
    if origin is tuple:
        return st.lists(values(args[0]), max_size=4).map(tuple)
    if origin is Mapping:
        return st.dictionaries(values(args[0]), values(args[1]), max_size=4)
    return PLAIN[origin or hint]


BY_TYPE = {cls: values(cls) for cls in MESSAGE_TYPES.values()}
MESSAGES = st.one_of(*BY_TYPE.values())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)

CLAIM = Claim("job", 1, "r1")
OUTCOME = Outcome("job", 1, "r1", arrays={"train": np.arange(3.0), "test": np.ones((2, 2))})


def same(one: Message, other: Message) -> bool:
    """Dataclasses can't compare arrays: these are compared by their bytes."""
    return type(one) is type(other) and _plain(one) == _plain(other)


def _plain(message: Message) -> dict[str, Any]:
    fields = dataclasses.asdict(message)
    arrays = fields.pop("arrays", {})
    return fields | {"arrays": {name: (a.dtype, a.shape, a.tobytes()) for name, a in arrays.items()}}


def pack(header: Any, body: bytes = b"") -> bytes:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(content).to_bytes(4, "big") + content + body


def header_of(message: Message) -> tuple[dict[str, Any], bytes]:
    content = wire.encode(message)
    end = 4 + int.from_bytes(content[:4], "big")
    return json.loads(content[4:end]), content[end:]


def npy_bytes(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def decodes_or_refuses(content: bytes) -> None:
    """A receiver parks what raises `DecodeError`; any other exception would stop it."""
    try:
        message = wire.decode(content)
    except wire.DecodeError:
        return
    assert type(message) in MESSAGE_TYPES.values()


@pytest.mark.parametrize("cls", BY_TYPE, ids=lambda cls: cls.__name__)
def test_what_is_sent_arrives(cls: type[Any]) -> None:
    @given(BY_TYPE[cls])
    def arrives(message: Message) -> None:
        assert same(wire.decode(wire.encode(message)), message)

    arrives()


def test_a_message_without_its_optional_fields_arrives() -> None:
    order = FoldOrder("job", 1, Data({"a.csv": "0"}, "y"), Limits(1.0, 2), {}, {}, ("classifier",), "1")
    arrived = wire.decode(wire.encode(order))
    assert arrived == order
    assert isinstance(arrived.elements, tuple)


def test_predictions_arrive_whatever_their_layout() -> None:
    array = np.arange(12.0).reshape(3, 4)
    arrays = {"fortran": np.asfortranarray(array), "strided": np.repeat(array, 2, axis=0)[::2]}
    arrived = wire.decode(wire.encode(dataclasses.replace(OUTCOME, arrays=arrays)))
    for part in arrays:
        np.testing.assert_array_equal(arrived.arrays[part], array)


@given(MESSAGES, st.data())
def test_a_message_cut_short_is_refused(message: Message, data: st.DataObject) -> None:
    content = wire.encode(message)
    length = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(wire.DecodeError):
        wire.decode(content[:length])


@pytest.mark.parametrize("message", [CLAIM, OUTCOME], ids=["without arrays", "with arrays"])
def test_bytes_behind_a_message_are_refused(message: Message) -> None:
    with pytest.raises(wire.DecodeError, match="behind"):
        wire.decode(wire.encode(message) + b"\0")


@given(MESSAGES, st.data())
def test_changed_bytes_never_crash_the_receiver(message: Message, data: st.DataObject) -> None:
    content = bytearray(wire.encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        removed = data.draw(st.integers(0, 3))
        content[start : start + removed] = data.draw(st.binary(max_size=3))
    decodes_or_refuses(bytes(content))


@given(st.binary(max_size=200))
def test_garbage_never_crashes_the_receiver(content: bytes) -> None:
    decodes_or_refuses(content)
    decodes_or_refuses(pack(content))


@given(JSON, st.binary(max_size=20))
def test_json_that_is_no_message_never_crashes_the_receiver(header: Any, body: bytes) -> None:
    decodes_or_refuses(pack(header, body))
    decodes_or_refuses(pack({"version": CONTRACT_VERSION, "type": "Outcome", "fields": header}, body))


@given(MESSAGES, st.data())
def test_a_header_with_another_value_in_it_never_crashes_the_receiver(
    message: Message, data: st.DataObject
) -> None:
    header, body = header_of(message)
    place = data.draw(st.sampled_from([header, header["fields"]]))
    place[data.draw(st.sampled_from(sorted(place)) | TEXT)] = data.draw(JSON)
    decodes_or_refuses(pack(header, body))


@given(JSON | st.lists(st.tuples(TEXT, st.integers() | st.floats())), st.binary(max_size=20))
def test_any_index_of_arrays_never_crashes_the_receiver(index: Any, body: bytes) -> None:
    header, arrays = header_of(OUTCOME)
    decodes_or_refuses(pack(header | {"arrays": index}, arrays + body))


def with_fields(**fields: Any) -> bytes:
    header, body = header_of(CLAIM)
    return pack(header | {"fields": header["fields"] | fields}, body)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cut short"),
        (b"\0\0\0", "cut short"),
        (b"\xff\xff\xff\xff" + b"{}", "cut short"),
        (pack(b"{"), "not JSON"),
        (pack(b"\xff\xfe"), "not JSON"),
        (pack(b"[" * 100_000), "not JSON"),
        (pack(b"9" * 10_000), "not JSON"),
        (pack([]), "not a message"),
        (pack({"version": CONTRACT_VERSION + 1, "type": "Claim", "fields": {}}), "contract version"),
        (pack({"version": CONTRACT_VERSION, "type": "Bomb", "fields": {}}), "'Bomb'"),
        (pack({"version": CONTRACT_VERSION, "type": ["Claim"], "fields": {}}), "unknown message type"),
        (pack({"version": CONTRACT_VERSION, "type": "Claim", "fields": []}), "no fields"),
        (pack({"version": CONTRACT_VERSION, "type": "Claim", "fields": {}, "arrays": []}), "job"),
        (with_fields(password="x"), "'password'"),
        (with_fields(attempt="1"), "'1' is no int"),
        (with_fields(attempt=True), "True is no int"),
        (with_fields(attempt=None), "None is no int"),
        (with_fields(runner=["r1"]), "is no str"),
    ],
)
def test_the_refusal_says_what_is_wrong(content: bytes, reason: str) -> None:
    with pytest.raises(wire.DecodeError, match=reason):
        wire.decode(content)


def outcome_with(index: Any, body: bytes, **fields: Any) -> bytes:
    header, _ = header_of(OUTCOME)
    return pack(header | {"arrays": index, "fields": header["fields"] | fields}, body)


@pytest.mark.parametrize(
    "content",
    [
        outcome_with(None, b""),
        outcome_with("ab", b""),
        outcome_with([["train", 1, 2]], b"x"),
        outcome_with([["train"]], b"x"),
        outcome_with([["train", -1]], b"x"),
        outcome_with([["train", 1e300]], b"x"),
        outcome_with([["train", 9]], b"x"),
        outcome_with([["train", 1]], b"x"),
        outcome_with([], b"", measures={"train_time": 10**400}),
    ],
)
def test_a_bad_index_or_number_is_refused(content: bytes) -> None:
    with pytest.raises(wire.DecodeError):
        wire.decode(content)


@pytest.mark.parametrize(
    "array",
    [np.float64(1.0), np.zeros((1, 1, 1, 1)), np.zeros(3, ">f8"), np.zeros(3, "c16"), np.array(["a"])],
)
def test_arrays_that_are_no_predictions_are_refused(array: Any) -> None:
    content = npy_bytes(array)
    with pytest.raises(wire.DecodeError, match="array"):
        wire.decode(outcome_with([["train", len(content)]], content))


def test_no_array_is_ever_unpickled() -> None:
    content = npy_bytes(np.array([{"a": 1}], dtype=object))
    with pytest.raises(wire.DecodeError, match="bad array"):
        wire.decode(outcome_with([["train", len(content)]], content))
    with pytest.raises(ValueError, match="pickle"):
        npy.dumps(np.array([{}], dtype=object))


@pytest.mark.parametrize("message", [Claim("job", 1, "r1"), Outcome("job", 1, "r1", log='"type": "Claim"')])
def test_the_type_is_known_at_a_glance(message: Claim | Outcome) -> None:
    assert wire.type_of(wire.encode(message)) == type(message).__name__


def test_what_is_no_message_has_no_type() -> None:
    assert wire.type_of(b"") == wire.type_of(b'\0\0\0\7{"a": 1') == ""
