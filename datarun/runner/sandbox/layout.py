"""Lays out a zygote's memory so that its forks cost little: in few mappings, most of it in huge pages, without gaps.

A fork takes over each mapping and each page that was used; a child then copies each page that it writes to. Nothing
here is needed for anything to work: where the kernel does not go along, forks cost more.
"""

import itertools
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from . import system

#: Bytes for objects: what the scientific stack has imported needs as much.
_ROOM = 64 << 20
# Python's allocator (Objects/obmalloc.c): bytes that it takes at a time, that it gives to objects of one size, that
# sizes are multiples of, and of the largest object that it has there.
_ARENA, _POOL, _STEP, _LARGEST = 1 << 20, 1 << 14, 16, 512
_POOL_HEADER, _HEADER = 48, sys.getsizeof(b"")
_MOST_GAPS = 16 << 20  # bytes of gaps of one size
_HUGE = 2 << 20  # bytes of a huge page
_MADV_HUGEPAGE, _MADV_COLLAPSE = 14, 25  # linux/mman.h
_READ, _WRITE, _EXECUTE = 1, 2, 4  # the same

#: An object in each arena, or two, that keep it while it is empty; and what fills gaps.
_kept: list[bytes] = []


def reserve() -> None:
    """Makes room for objects in one piece, in huge pages: a fork takes over each as a whole.

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
    addresses = {id(each) for each in _kept}
    for mapping in _mappings():
        first, last = -(-mapping.start // _HUGE) * _HUGE, mapping.end // _HUGE * _HUGE
        if first < last and any(mapping.start <= address < mapping.end for address in addresses):
            with suppress(OSError):
                system.advise(first, last - first, _MADV_HUGEPAGE)
                system.advise(first, last - first, _MADV_COLLAPSE)


def settle() -> None:
    """When all is imported and loaded that children are to begin with; again when there is more."""
    _fill_gaps()
    if system.LINUX:
        _merge_mappings()


def _fill_gaps() -> None:
    """New objects get pages of their own, where each gap between old ones would have a page to be copied."""
    smallest = -(-(_HEADER + 1) // _STEP) * _STEP
    for size in range(smallest, _LARGEST + 1, _STEP):
        _kept.extend(_gap_fillers(size))


def _gap_fillers(size: int) -> list[bytes]:
    """Objects for all gaps of `size` bytes; none if this is another allocator, or there is no end of gaps."""
    full = (_POOL - _POOL_HEADER) // size
    fillers: list[bytes] = []
    in_pool, pool = 0, -1
    for _ in range(_MOST_GAPS // size):
        fillers.append(bytes(size - _HEADER))
        in_pool = in_pool + 1 if id(fillers[-1]) // _POOL == pool else 1
        pool = id(fillers[-1]) // _POOL
        if in_pool == full:  # a pool that was empty: there is no gap in any other
            return fillers[:-full]
    return []


class _Mapping(NamedTuple):
    start: int
    end: int
    access: str
    offset: int
    file: str

    def goes_on_as(self, other: "_Mapping") -> bool:
        """Whether `other` has the next bytes of the same file."""
        length = self.end - self.start
        follows = (self.end, self.offset + length, self.file) == (other.start, other.offset, other.file)
        return follows and self.file.startswith("/")


def _mappings() -> Iterator[_Mapping]:
    """proc_pid_maps(5)"""
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, access, offset, _, _, *file = line.split(maxsplit=5)
        start, end = (int(number, 16) for number in addresses.split("-"))
        yield _Mapping(start, end, access, int(offset, 16), *file or ("",))


def _merge_mappings() -> None:
    """Gives neighbours in a library's file the same access, by which they become one mapping: two a library, not five.

    Its constants may be executed then, and its addresses of functions be written to, which keeps nothing from
    anybody: children run native code of their own.
    """
    mappings = list(_mappings())
    for left, right in itertools.pairwise(mappings):
        if left.goes_on_as(right):
            match left.access, right.access:
                case "r--p", "r-xp":
                    _protect(left, _READ | _EXECUTE)
                case "r-xp", "r--p":
                    _protect(right, _READ | _EXECUTE)
                case "r--p", "rw-p":
                    _protect(left, _READ | _WRITE)


def _protect(mapping: _Mapping, access: int) -> None:
    with suppress(OSError):
        system.protect(mapping.start, mapping.end - mapping.start, access)
