"""Has Python's objects in huge pages: a fork takes over each as a whole, where each page of 4 kB costs it on its own.

Advice to the kernel only: where it has no huge pages, or does not take the advice, nothing changes.
"""

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from . import system

#: Bytes for objects: what the scientific stack has imported needs as much.
_ROOM = 64 << 20
_ARENA = 1 << 20  # bytes that Python's allocator takes at a time (Objects/obmalloc.c)
_LARGEST = 512  # bytes of the largest object that it puts there
_HEADER = sys.getsizeof(b"")
_HUGE = 2 << 20  # bytes of a huge page
_MADV_HUGEPAGE, _MADV_COLLAPSE = 14, 25  # linux/mman.h

#: An object in each arena, or two: they keep it while it is empty.
_kept: list[bytes] = []


def reserve() -> None:
    """Makes room for objects in one piece, in huge pages.

    To be called before anything is imported: afterwards the allocator's arenas lie scattered between libraries,
    each too small for a huge page.
    """
    if not system.LINUX:
        return
    filling = [b""] * (_ROOM // _LARGEST)  # of full length: a list that grows would come between the arenas
    for number in range(len(filling)):
        filling[number] = bytes(_LARGEST - _HEADER)
    _kept.extend(filling[:: _ARENA // _LARGEST // 2])  # an arena has room for fewer: it has headers
    del filling
    for start, end in _mappings({id(each) for each in _kept}):
        first, last = -(-start // _HUGE) * _HUGE, end // _HUGE * _HUGE
        if first < last:
            with suppress(OSError):
                system.advise(first, last - first, _MADV_HUGEPAGE)
                system.advise(first, last - first, _MADV_COLLAPSE)


def _mappings(addresses: set[int]) -> Iterator[tuple[int, int]]:
    """Where the mappings begin and end that have one of the addresses."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(number, 16) for number in line.split(maxsplit=1)[0].split("-"))
        if any(start <= address < end for address in addresses):
            yield start, end
