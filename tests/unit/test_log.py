"""What a job prints: bounded, printable, and saying how much was left out."""

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datarun.runner.sandbox.log import BoundedLog, clean

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")

KIB = 1024


def log_of(*chunks: bytes) -> str:
    log = BoundedLog()
    for chunk in chunks:
        log.add(chunk)
    return log.text()


@given(st.lists(st.binary(max_size=100), max_size=20))
def test_a_short_log_is_kept_whole(chunks: list[bytes]) -> None:
    assert log_of(*chunks) == clean(b"".join(chunks).decode("utf-8", errors="replace"))


def test_lines_tabs_and_every_language_stay_as_they_are() -> None:
    text = "loss\t0.5\ngrößer 数 🙂\r\nend\n"
    assert log_of(text.encode()) == text.replace("\r\n", "\n")


@pytest.mark.parametrize(
    "character", ["\0", "\a", "\b", "\x1b", "\r", "\v", "\f", "\x7f", "\x80", "\x9b", "\x9f"]
)
def test_what_moves_a_cursor_or_ends_a_text_is_replaced(character: str) -> None:
    assert clean(f"a{character}b") == "a\N{REPLACEMENT CHARACTER}b"


@given(st.text(st.characters()))
def test_clean_text_can_be_stored_and_is_clean(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode("utf-8")
    assert "\0" not in cleaned
    assert clean(cleaned) == cleaned


def test_bytes_that_are_no_utf8_are_replaced() -> None:
    assert log_of(b"a\xff\xfeb") == "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}b"


def test_a_character_may_arrive_in_two_chunks() -> None:
    content = "é".encode()
    assert log_of(content[:1], content[1:]) == "é"


@pytest.mark.parametrize("size", [1, 100, 64 * KIB, 1 << 20])
def test_head_and_tail_of_a_long_log_are_kept_whatever_the_chunks(size: int) -> None:
    content = b"".join(b"%07d\n" % number for number in range(1 << 17))
    if size == 1:
        content = content[: 100 * KIB]
    text = log_of(*(content[start : start + size] for start in range(0, len(content), size)))
    head, gap, tail = text.partition("\n[… ")
    left_out, _, tail = tail.partition(" bytes left out …]\n")
    assert gap
    assert head.encode() == content[: 16 * KIB]
    assert tail.encode() == content[-48 * KIB :]
    assert int(left_out) == len(content) - 64 * KIB


def test_exactly_what_fits_is_kept_whole() -> None:
    assert log_of(b"x" * 64 * KIB) == "x" * 64 * KIB
    assert "[… 1 bytes left out …]" in log_of(b"x" * (64 * KIB + 1))


def test_any_amount_costs_little_memory() -> None:
    chunk = b"x" * 64 * KIB
    tracemalloc.start()
    try:
        log = BoundedLog()
        for _ in range(1600):  # 100 MiB
            log.add(chunk)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert len(log.text()) < 65 * KIB
