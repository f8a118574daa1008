"""A zygote's memory costs a fork little: Python's objects lie in one piece, in huge pages where the kernel has them,
and its libraries in few mappings."""

import re
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from datarun.runner.sandbox import layout, system
from tests.bench import Bench, classifier, succeeded

THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
MIB = 1 << 20


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench.serving(tmp_path) as bench:
        yield bench


def anonymous(pid: int) -> Iterator[tuple[int, int]]:
    """Bytes of each mapping that has no file: all of them, and those in huge pages."""
    size = 0
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if mapping := re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ 0\s*$", line):
            size = int(mapping[2], 16) - int(mapping[1], 16)
        elif re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            size = 0
        elif size and line.startswith("AnonHugePages:"):
            yield size, int(line.split()[1]) << 10


@pytest.mark.skipif(not system.LINUX or "[never]" in THP.read_text(), reason="this kernel has no huge pages")
def test_a_zygotes_objects_lie_in_huge_pages(bench: Bench) -> None:
    succeeded(bench.toy(classifier()))
    (zygote,) = psutil.Process().children()
    room = sum(huge for size, huge in anonymous(zygote.pid) if size >= 2 * MIB)
    assert room > layout._ROOM / 4  # forks take some of it apart


@pytest.mark.skipif(not system.LINUX, reason="reads /proc")
def test_a_zygotes_libraries_have_two_mappings_each(bench: Bench) -> None:
    succeeded(bench.toy(classifier()))
    (zygote,) = psutil.Process().children()
    libraries = [mapping.path for mapping in zygote.memory_maps(grouped=False) if ".so" in mapping.path]
    assert len(libraries) < 2.2 * len(set(libraries))  # some have a hole, or a part of their own
