"""Looks for labels wherever a process can look: memory, objects, files, environment, descriptors, parents.

A label is text like ``LBL`` with 24 digits, or a 64-bit integer whose upper half is `MAGIC`: no other value looks
like that, and what finds them does not look like them itself.
"""

import gc
import os
import re
import stat
import subprocess

import numpy as np

MAGIC = 0x4137A55A
TEXT = re.compile(rb"LBL[0-9a-f]{24}")
UPPER = re.compile(re.escape(MAGIC.to_bytes(4, "little")))
_MOST = 64 << 20


def text(number):
    """The label that is text of this number."""
    return "LB" + "L" + f"{number:024x}"


def number(lower):
    """The label that is an integer with this lower half."""
    return MAGIC << 32 | lower


def labels(content):
    """The labels in some bytes: of text the number, of integers the lower half."""
    found = {int(match.group()[3:], 16) for match in TEXT.finditer(content)}
    ends = (match.start() for match in UPPER.finditer(content))
    return found | {int.from_bytes(content[end - 4 : end], "little") for end in ends if end >= 4}


def in_memory(process="self"):
    """In all that a process has mapped and may read."""
    found = set()
    with open(f"/proc/{process}/maps") as maps, open(f"/proc/{process}/mem", "rb", buffering=0) as memory:
        for line in maps.read().splitlines():
            addresses, access = line.split()[:2]
            if "r" in access and "[v" not in line:
                start, end = (int(address, 16) for address in addresses.split("-"))
                found |= _in_region(memory, start, end)
    return found


def _in_region(memory, start, end):
    found = set()
    while start < end:
        try:
            memory.seek(start)
            content = memory.read(min(end - start, _MOST))
        except (OSError, ValueError, OverflowError):
            break  # pages that nobody may read
        found |= labels(content)
        if not content:
            break
        start += len(content) - 32 if start + len(content) < end else len(content)
    return found


def in_objects():
    """In all objects that Python's garbage collector knows, and in those that they hold."""
    gc.unfreeze()
    seen, waiting, found = set(), gc.get_objects(), set()
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, str):
            found |= labels(thing.encode(errors="replace"))
        elif isinstance(thing, bytes | bytearray):
            found |= labels(bytes(thing))
        elif isinstance(thing, int) and thing >> 32 == MAGIC:
            found.add(thing & 0xFFFFFFFF)
        elif isinstance(thing, np.ndarray):
            found |= labels(np.asarray(thing).tobytes()) if thing.dtype != object else set()
        waiting += gc.get_referents(thing)
    return found


def in_files(places):
    """In all regular files at and below these places that can be opened."""
    found = set()
    for place in places:
        paths = [place] + [os.path.join(folder, name) for folder, _, names in os.walk(place) for name in names]
        for path in paths:
            found |= _in_file(path)
    return found


def _in_file(path):
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return set()
        with open(path, "rb") as file:
            return labels(file.read(_MOST))
    except OSError:
        return set()


def in_environment():
    """In its variables, those it was started with, and those that its programs get."""
    found = labels(repr(os.environ).encode()) | labels(subprocess.check_output(["/usr/bin/env"]))
    return found | in_files(["/proc/self/environ", "/proc/self/cmdline"])


def in_descriptors(folder="/proc/self/fd"):
    """In what its descriptors lead to: files from their start, pipes as far as something is in them."""
    found = set()
    for name in os.listdir(folder):
        try:
            descriptor = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            found |= labels(os.read(descriptor, _MOST))
        except OSError:
            pass
        finally:
            os.close(descriptor)
    return found


def in_process(process):
    """In another process: memory, environment, arguments, descriptors, current folder."""
    own = f"/proc/{process}"
    found = set()
    for look in (
        lambda: in_memory(process),
        lambda: in_descriptors(f"{own}/fd"),
        lambda: in_files([f"{own}/environ", f"{own}/cmdline", f"{own}/cwd"]),
    ):
        try:
            found |= look()
        except OSError:
            pass
    return found
