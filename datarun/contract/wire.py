"""Messages as bytes: a length-prefixed JSON header, then raw `.npy` arrays, never a pickle.

4 bytes      length of the header, big-endian
header       {"version", "type", "fields", "arrays": [[name, length], ...]}, JSON in UTF-8
.npy bytes   one array after the other, in the header's order
"""

import dataclasses
import json
import re
import types
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from . import npy, predictions
from .messages import CONTRACT_VERSION, MESSAGE_TYPES, Message

CONTENT_TYPE = "application/vnd.datarun"

_PREFIX = 4
_GLANCE = 64  # bytes of the header within which the type stands
_TYPE = re.compile(rb'"type": "(\w+)"')
_MAX_HEADER = 64 * 1024 * 1024


class DecodeError(ValueError):
    """The bytes are no message that this version understands; says why."""


class VersionError(DecodeError):
    """A message of another contract version: `fields` are what it says, as far as they are fields."""

    def __init__(self, version: object, type: object, fields: object) -> None:
        super().__init__(f"a message of contract version {version}, this is version {CONTRACT_VERSION}")
        self.version, self.type = str(version), str(type)
        self.fields: Mapping[str, Any] = fields if isinstance(fields, dict) else {}


def encode(message: Message) -> bytes:
    """`message` as bytes."""
    fields = _fields(message)
    arrays = {name: npy.dumps(array) for name, array in fields.pop("arrays", {}).items()}
    header = json.dumps(
        {
            "version": CONTRACT_VERSION,
            "type": type(message).__name__,
            "fields": fields,
            "arrays": [[name, len(content)] for name, content in arrays.items()],
        },
        default=_fields,
    ).encode()
    return b"".join([len(header).to_bytes(_PREFIX, "big"), header, *arrays.values()])


def _fields(value: Any) -> dict[str, Any]:
    """A dataclass's fields, themselves: `dataclasses.asdict` would copy all of them, deeply."""
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def type_of(content: bytes) -> str:
    """Which type of message it begins like, at a glance: `decode` says whether it is one."""
    match = _TYPE.search(content, _PREFIX, _PREFIX + _GLANCE)
    return match[1].decode() if match else ""


def decode(content: bytes) -> Message:
    """The message in `content`; raises `DecodeError`."""
    length = int.from_bytes(content[:_PREFIX], "big")
    if len(content) < _PREFIX or length > min(_MAX_HEADER, len(content) - _PREFIX):
        raise DecodeError("the header is cut short")
    try:
        header = json.loads(content[_PREFIX : _PREFIX + length])
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"the header is not JSON: {error}") from error
    if not isinstance(header, dict) or not isinstance(header.get("version"), int):
        raise DecodeError("not a message of datarun")
    if header["version"] != CONTRACT_VERSION:
        raise VersionError(header["version"], header.get("type"), header.get("fields"))
    cls = MESSAGE_TYPES.get(str(header.get("type")))
    if cls is None:
        raise DecodeError(f"unknown message type {header.get('type')!r}")
    fields = header.get("fields")
    if not isinstance(fields, dict):
        raise DecodeError("the message has no fields")
    arrays = _split_arrays(header.get("arrays"), content[_PREFIX + length :])
    if arrays or "arrays" in cls.__dataclass_fields__:
        fields["arrays"] = arrays
    return _build(cls, fields)  # type: ignore[no-any-return]


def _split_arrays(index: object, body: bytes) -> dict[str, Any]:
    arrays = {}
    try:
        for name, length in index:  # type: ignore[attr-defined]
            if not 0 <= length <= len(body):
                raise DecodeError(f"array {name!r} is cut short")
            array = arrays[str(name)] = npy.loads(body[:length])
            if problem := predictions.array_problem(array):
                raise DecodeError(f"array {name!r}: {problem}")
            body = body[length:]
    except DecodeError:
        raise
    except (TypeError, ValueError) as error:
        raise DecodeError(f"bad array: {error}") from error
    if body:
        raise DecodeError(f"there are {len(body)} bytes behind the last array")
    return arrays


def _build(cls: type[Any], fields: Mapping[str, Any]) -> Any:
    hints = _hints(cls)  # type: ignore[arg-type]  # mypy takes classes for unhashable
    known = {f.name for f in dataclasses.fields(cls)}
    if unknown := set(fields) - known:
        raise DecodeError(f"{cls.__name__} has no field {sorted(unknown)[0]!r}")
    try:
        values = {
            name: value if name == "arrays" else _convert(hints[name], value)
            for name, value in fields.items()
        }
        return cls(**values)
    except (TypeError, OverflowError) as error:
        raise DecodeError(f"{cls.__name__}: {error}") from error


@lru_cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    return get_type_hints(cls)


def _convert(hint: Any, value: Any) -> Any:
    """`value` as the type `hint` wants it: JSON knows neither tuples nor nested dataclasses."""
    if hint is Any or type(value) is hint:
        return value
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return None if value is None else _convert(next(a for a in args if a is not type(None)), value)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return _build(hint, value)  # type: ignore[arg-type]
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(args[0], item) for item in value)
    if origin is Mapping and isinstance(value, dict):
        return {key: _convert(args[1], item) for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    raise TypeError(f"{value!r:.80} is no {getattr(hint, '__name__', hint)}")
