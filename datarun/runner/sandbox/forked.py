"""A child of a zygote as the supervisor has it: forked and locked down, waiting for its task in a folder of its own.

It may be forked ahead of its task, so that no fold waits for the fork and for the way into its control group.
"""

import contextlib
import os
import select
import signal
from contextlib import ExitStack
from typing import Protocol

from .cgroup import Cgroup
from .task import JobFolder, Task

_PATIENCE = 10.0  # seconds for the end of one that was killed


class Forks(Protocol):
    """A zygote, as far as it matters here."""

    def fork(self, job: JobFolder, descriptors: list[int]) -> int:
        """Forks a child that works in `job`; returns its process id."""

    @property
    def imported(self) -> int:
        """How many modules it has imported for its children."""


class Forked:
    """`leaves` is what to do once it is gone."""

    def __init__(self, zygote: Forks, folder: JobFolder, cgroup: Cgroup | None) -> None:
        self._zygote, self._imported = zygote, zygote.imported
        self.folder, self.cgroup = folder, cgroup
        self.leaves = ExitStack()
        with ExitStack() as theirs, ExitStack() as ours:
            # To hear it by: its reports, its output, how it ended. And to tell it its task.
            pipes = [os.pipe() for _ in range(3)]
            task, self._task = os.pipe()
            self._is_ours = True
            self._ours = [*(reader for reader, _ in pipes), self._task]
            ends = [*(writer for _, writer in pipes), task]
            ours.callback(self._close)
            for end in ends:
                theirs.callback(os.close, end)
            for group in cgroup.entrances() if cgroup else ():
                theirs.callback(os.close, group)
                ends.append(group)
            self.leader = zygote.fork(folder, ends)
            self.leaves.push(ours.pop_all())

    def hear_by(self) -> tuple[int, int, int]:
        """Descriptors of its reports, its output and its end, for the caller, who ends it."""
        reports, output, end, *self._ours = self._ours
        self._is_ours = False
        return reports, output, end

    def give(self, task: Task) -> None:
        """Has it begin. One that has died by now says so by its end."""
        with contextlib.suppress(BrokenPipeError):
            content = memoryview(task.encode())
            while content:
                content = content[os.write(self._task, content) :]
        self._ours.remove(self._task)
        os.close(self._task)

    def _close(self) -> None:
        for descriptor in self._ours:
            os.close(descriptor)

    def _ends_within(self, seconds: float) -> bool:
        return bool(select.select([self._ours[2]], [], [], seconds)[0])

    @property
    def is_good(self) -> bool:
        """Whether it is alive, and a new one would have nothing imported that it lacks."""
        return self._imported == self._zygote.imported and not self._ends_within(0)

    def dismiss(self) -> None:
        """Leaves nothing of it; ends it unless somebody else has taken it over and ended it."""
        if self._is_ours and not self._ends_within(0):
            kill_group(self.leader)
            self._ends_within(_PATIENCE)
        self.leave()

    def leave(self) -> None:
        """The same for one whose zygote has ended."""
        self.leaves.close()


def kill_group(leader: int) -> None:
    """Kills a child and all its descent, which can't leave its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
