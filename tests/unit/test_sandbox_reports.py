"""What a child writes is cut into reports, whatever it writes and however it arrives, in bounded memory."""

import json
import tracemalloc
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarun.runner.sandbox.run import _Reports

MIB = 1 << 20
Heard = list[tuple[Mapping[str, Any], bytes]]


def size_of(report: Mapping[str, Any]) -> int:
    """As many bytes as a report of these tests says."""
    size = report.get("size", 0)
    return size if isinstance(size, int) and 0 <= size < MIB else 0


def heard(*chunks: bytes) -> Heard:
    found: Heard = []
    reports = _Reports(size_of, lambda report, content: found.append((report, content)))
    for chunk in chunks:
        reports.add(chunk)
    return found


def report(content: bytes = b"", **values: Any) -> bytes:
    values |= {"size": len(content)} if content else {}
    return json.dumps(values).encode() + b"\n" + content


def in_pieces(content: bytes, size: int) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


@given(st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=50)), max_size=8), st.integers(1, 70))
def test_reports_are_the_same_however_they_arrive(said: list[tuple[str, bytes]], size: int) -> None:
    written = b"".join(report(content, event=event) for event, content in said)
    expected = [
        ({"event": event} | ({"size": len(content)} if content else {}), content) for event, content in said
    ]
    assert heard(*in_pieces(written, size)) == expected


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_garbage_is_no_report_and_no_error(chunks: list[bytes]) -> None:
    heard(*chunks)
    assert heard(*chunks, b"\n", report(event="done"))[-1:] == [({"event": "done"}, b"")] or b"{" in b"".join(
        chunks
    )


@pytest.mark.parametrize(
    "line",
    [
        *(b"[]", b"1", b"null", b'"x"', b"garbage", b"", b"\xff\xfe", b"{", b'{"event"', b'{"a": 1}}'),
        *(b"{" * 100_000, b'{"a":' * 100_000, b'{"a": ' + b"1" * 10_000 + b"}"),
    ],
)
def test_a_line_that_is_no_report_is_left_out(line: bytes) -> None:
    found = [said for said, _ in heard(line + b"\n" + report(event="done")) if said]
    assert found == [{"event": "done"}]


def test_a_line_that_is_too_long_is_left_out_whole() -> None:
    long = report(event="done", x="x" * MIB)
    assert heard(*in_pieces(long + report(event="failed"), 65536)) == [({"event": "failed"}, b"")]
    assert heard(*in_pieces(report(event="done", x="x" * (MIB - 100)), 65536))[0][0]["event"] == "done"


def test_content_is_no_line() -> None:
    content = b'\n{"event": "done"}\n' * 10
    assert [found for _, found in heard(report(content, event="predictions"), report(event="done"))] == [
        content,
        b"",
    ]


def test_the_bytes_of_lines_are_counted_and_those_of_contents_are_not() -> None:
    reports = _Reports(size_of, lambda *_: None)
    lines = b"garbage\n\n{}\n"
    reports.add(lines + report(bytes(1000), event="predictions") + b"x" * 10)
    assert reports.number - len(lines) - len(report(event="predictions", size=1000)) == pytest.approx(
        10, abs=1
    )


def test_any_amount_of_garbage_costs_little_memory() -> None:
    reports = _Reports(size_of, lambda *_: None)
    chunk = b"x" * 65536
    tracemalloc.start()
    try:
        for _ in range(1000):
            reports.add(chunk)
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()
