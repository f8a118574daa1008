"""A broker in a folder: a kombu transport for the processes of one machine, without RabbitMQ.

    Connection(transport="datarun.broker.filesystem:Transport", transport_options={"folder": "/var/broker"})

    queues/<queue>/<name>           a message that waits; names sort in the order of publication
    queues/<queue>/<name>.<owner>   the same one, delivered to the channel <owner>, not yet acknowledged
    owners/<owner>                  a file that this channel keeps locked for as long as it lives
    tmp/<owner>/                    what it is writing
    bell                            a file whose time changes whenever a message begins to wait

A message moves by renaming its file, which one process does, or none: it appears complete, one of many
consumers gets it, and a rejected one goes back to its old place. The system unlocks the file of a channel
that dies, however it dies; whoever looks at the queue next puts back what that channel held. As with
RabbitMQ: delivered at least once, and one publisher's messages in order.

Only the default exchange reaches other processes: the routing key is the queue's name. The first message
makes a queue that nobody declared. Priorities, expiry and auto-delete are ignored. Messages outlive all
processes, but aren't synced to disk: a power cut may lose the last ones. This module may not know what
messages mean.
"""

import fcntl
import logging
import os
import shutil
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import Any
from urllib.parse import quote

from kombu.exceptions import OperationalError
from kombu.transport import virtual
from kombu.utils.json import dumps, loads

logger = logging.getLogger(__name__)

#: Seconds after which an idle consumer looks at its queues although no bell rang: dead channels don't ring.
LOOK_PERIOD = 1.0
#: Names that one look remembers: more makes long queues cheaper, fewer shows sooner what others reject.
BACKLOG = 100


class Channel(virtual.Channel):
    """One consumer or publisher. A delivery tag is the message's path below `queues/`.

    Raises `OperationalError` if the folder can't be set up or written, and any other `OSError` as it comes;
    the transport counts both among its `connection_errors`.
    """

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        folder = connection.client.transport_options.get("folder")
        if not folder:
            raise ValueError("The broker has no folder. Give transport_options={'folder': '/path'}.")
        self._root = root = Path(folder).absolute()
        self._owner = uuid.uuid4().hex
        self._queues, self._owners, self._tmp = root / "queues", root / "owners", root / "tmp"
        self._drafts, self._bell = self._tmp / self._owner, root / "bell"
        self._last_stamp = self._heard = 0
        self._next_look = 0.0
        self._backlog: dict[str, deque[str]] = {}
        with _writing(root):
            self._open()

    def close(self) -> None:
        """Put back what is not acknowledged, and give up the lock."""
        if not self.closed:
            super().close()
            shutil.rmtree(self._drafts, ignore_errors=True)
            (self._owners / self._owner).unlink(missing_ok=True)
            self._lock.close()

    def queue_delete(self, queue: str, if_unused: bool = False, if_empty: bool = False, **_: Any) -> None:
        """Delete `queue` with its messages. (kombu's own deletes only what a named exchange is bound to.)"""
        if not (if_empty and self._size(queue)):
            self._delete(queue)
            self.state.queue_bindings_delete(queue)

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Callable[[Any], Any], consumer_tag: str, **kwargs: Any
    ) -> None:
        """Call `callback` with the messages of `queue`; with `no_ack` they are gone once delivered."""

        def deliver(message: Any) -> Any:
            if no_ack:
                self._forget(message.delivery_tag)
            return callback(message)

        super().basic_consume(queue, no_ack, deliver, consumer_tag, **kwargs)
        self._next_look = 0.0

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """Return the next message of `queue`, or None; with `no_ack` it is gone once delivered."""
        message = super().basic_get(queue, no_ack=no_ack, **kwargs)
        if message and no_ack:
            self._forget(message.delivery_tag)
        return message

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Acknowledge a message; with `multiple` also all that this channel got before it."""
        tags = list(self.qos._delivered) if multiple else [delivery_tag]
        for tag in tags[: tags.index(delivery_tag) + 1]:
            self._forget(tag)
            super().basic_ack(tag)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Put a message back to its old place in the queue, or drop it."""
        super().basic_reject(delivery_tag, requeue=requeue)
        if not requeue:
            self._forget(delivery_tag)

    # What kombu's virtual channel asks for

    def _new_queue(self, queue: str, **_: Any) -> None:
        self._folder(queue).mkdir(mode=0o700, exist_ok=True)

    def _has_queue(self, queue: str, **_: Any) -> bool:
        return self._folder(queue).is_dir()

    def _size(self, queue: str) -> int:
        return len(self._waiting(queue))

    def _purge(self, queue: str) -> int:
        purged = self._drafts / "purged"  # each replaces the one before
        return sum(_moved(self._folder(queue) / name, purged) for name in self._waiting(queue))

    def _delete(self, queue: str, *_: Any, **__: Any) -> None:
        # Moved away first: nobody adds to what is being removed.
        if _moved(self._folder(queue), self._drafts / "deleted"):
            shutil.rmtree(self._drafts / "deleted")

    def _put(self, queue: str, message: dict[str, Any], **_: Any) -> None:
        with _writing(self._root):
            draft = self._drafts / "message"
            draft.write_text(dumps(message), encoding="utf-8")
            # Stamped when written, however long that took, and growing even when the clock is set back.
            self._last_stamp = max(self._last_stamp + 1, time.time_ns())
            waiting = self._folder(queue) / f"{self._last_stamp:020d}-{self._owner}"
            if not _moved(draft, waiting):
                self._new_queue(queue)
                draft.rename(waiting)
            self._ring()

    def _poll(self, cycle: Any, callback: Callable[..., Any], timeout: float | None = None) -> Any:
        rang, now = self._bell.stat().st_mtime_ns, time.monotonic()
        if rang == self._heard and now < self._next_look:
            raise Empty  # an idle consumer does no more than this
        try:
            return super()._poll(cycle, callback, timeout=timeout)
        except Empty:
            self._heard, self._next_look = rang, now + LOOK_PERIOD
            raise

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        while backlog := self._backlog.get(queue) or self._look(queue):
            self._backlog[queue] = backlog
            tag = f"{self._folder(queue).name}/{backlog.popleft()}"
            if not _moved(self._queues / tag, self._claimed(tag)):
                continue  # another consumer was faster
            try:
                message: dict[str, Any] = loads(self._claimed(tag).read_bytes())
            except ValueError:
                # Left where it is: in nobody's way, and the next consumer's log says so again.
                logger.exception("Message %s is damaged and can't be delivered.", self._claimed(tag))
                continue
            message["properties"]["delivery_tag"] = tag
            return message
        raise Empty

    def _restore(self, message: Any) -> None:
        _moved(self._claimed(message.delivery_tag), self._queues / message.delivery_tag)
        self._backlog.clear()
        self._ring()

    # The folder

    def _open(self) -> None:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in self._queues, self._owners, self._tmp:
            folder.mkdir(mode=0o700, exist_ok=True)
        self._bell.touch()
        for owner in self._owners.iterdir():
            if not self._alive(owner.name):
                shutil.rmtree(self._tmp / owner.name, ignore_errors=True)
                owner.unlink(missing_ok=True)
        self._drafts.mkdir(mode=0o700)
        # Locked before it comes to its place: at no moment could others take this channel for a dead one.
        self._lock = (self._drafts / "lock").open("x")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        (self._drafts / "lock").rename(self._owners / self._owner)

    def _alive(self, owner: str) -> bool:
        try:
            with (self._owners / owner).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    def _ring(self) -> None:
        now = time.time_ns()
        os.utime(self._bell, ns=(now, now))

    def _look(self, queue: str) -> deque[str]:
        """Return the names of the first messages of `queue`, in order.

        A listing may show a message and miss an earlier one that came while it was read; a second listing
        shows that one. So only what sorts before all that the first one missed is in order for certain.
        """
        self._rescue(queue)
        seen = self._waiting(queue)
        while seen:
            again = self._waiting(queue)
            missed = min(again - seen, default="~")
            if certain := sorted(name for name in seen if name < missed):
                return deque(certain[:BACKLOG])
            seen = again
        return deque()

    def _rescue(self, queue: str) -> None:
        """Put back what channels hold that are gone."""
        held = [Path(name) for name in self._names(queue) if "." in name]
        dead = {owner for owner in {name.suffix for name in held} if not self._alive(owner[1:])}
        for name in held:
            if name.suffix in dead and _moved(self._folder(queue) / name, self._folder(queue) / name.stem):
                self._ring()

    def _waiting(self, queue: str) -> set[str]:
        return {name for name in self._names(queue) if "." not in name}

    def _names(self, queue: str) -> list[str]:
        try:
            with os.scandir(self._folder(queue)) as entries:
                return [entry.name for entry in entries]
        except FileNotFoundError:
            return []

    def _folder(self, queue: str) -> Path:
        # quote() leaves dots as they are, and nothing of an empty name.
        return self._queues / (quote(queue, safe="").replace(".", "%2E") or "%")

    def _claimed(self, tag: str) -> Path:
        return self._queues / f"{tag}.{self._owner}"

    def _forget(self, tag: str) -> None:
        self._claimed(tag).unlink(missing_ok=True)


class Transport(virtual.Transport):
    """Polls the folder given as `transport_options["folder"]`, which is made if it is missing."""

    Channel = Channel
    driver_type = driver_name = "filesystem"
    #: Seconds between two looks of an idle consumer. An option of the same name sets another.
    polling_interval = 0.015
    connection_errors = (*virtual.Transport.connection_errors, OperationalError, OSError)


@contextmanager
def _writing(root: Path) -> Iterator[None]:
    """Name the folder in the error of whatever can't be written in it."""
    try:
        yield
    except OSError as error:
        raise OperationalError(
            f"The message folder {root} can't be written: {error}. "
            "Name one that this user may create and write, on a disk with room."
        ) from error


def _moved(source: Path, target: Path) -> bool:
    """Rename a file that another process may take; return False if it did."""
    try:
        source.rename(target)
    except FileNotFoundError:
        return False
    return True
