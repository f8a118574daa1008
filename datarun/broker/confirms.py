"""Publisher confirms: what the broker says of the messages that a channel has published, a batch at a time.

Knows channels and delivery tags, not queues and not what messages mean.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from itertools import takewhile
from typing import Any
from weakref import WeakKeyDictionary

from kombu import Connection
from kombu.exceptions import OperationalError

_known: WeakKeyDictionary[Any, "Confirms"] = WeakKeyDictionary()


class Confirms:
    """A channel in confirm mode. Delivery tags number what is published on it, from 1.

    A channel that has no such mode, that of the folder, has delivered what it has published.
    """

    def __init__(self, channel: Any) -> None:
        self._last = 0
        self._open: dict[int, Callable[[], object]] = {}  # by delivery tag: to call when the broker has it
        self._refused: dict[int, str] = {}  # why
        self._confirms = hasattr(channel, "confirm_select")
        if self._confirms:
            channel.confirm_select()
            channel.events["basic_ack"].add(self._acked)
            channel.events["basic_nack"].add(self._nacked)
            channel.events["basic_return"].add(self._returned)

    @classmethod
    def of(cls, channel: Any) -> "Confirms":
        """The channel's own; from the first call on it is in confirm mode."""
        if channel not in _known:
            _known[channel] = cls(channel)
        return _known[channel]

    def begin(self) -> None:
        """A new batch: nobody waits for what an earlier one was left without."""
        self._open.clear()
        self._refused.clear()

    @property
    def next_id(self) -> str:
        """The message id that the next message must have, to be known if it comes back."""
        return str(self._last + 1)

    def published(self, accepted: Callable[[], object]) -> None:
        """The next message was sent: `accepted` is called once the broker has it."""
        self._last += 1
        if self._confirms:
            self._open[self._last] = accepted
        else:
            accepted()

    def wait(self, connection: Connection, until: float) -> None:
        """Reads what the broker says, until it has said something of each message of the batch.

        Raises `OperationalError` if it refused one, and TimeoutError after `until`, by the monotonic clock.
        """
        while self._open:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"the broker leaves {len(self._open)} messages unconfirmed")
            with suppress(TimeoutError):
                connection.drain_events(timeout=left)
        if self._refused:
            why = next(iter(self._refused.values()))
            raise OperationalError(f"the broker refused {len(self._refused)} messages: {why}")

    def _acked(self, tag: int, multiple: bool) -> None:
        for accepted in self._settle(tag, multiple).values():
            accepted()

    def _nacked(self, tag: int, multiple: bool) -> None:
        self._refused |= dict.fromkeys(self._settle(tag, multiple), "it could not take it")

    def _returned(self, error: Exception, exchange: str, queue: str, message: Any) -> None:
        # It is acknowledged nevertheless, afterwards.
        tag = int(message.properties["message_id"])
        if self._open.pop(tag, None):
            self._refused[tag] = f"{queue}: {error}"

    def _settle(self, tag: int, multiple: bool) -> dict[int, Callable[[], object]]:
        """Takes the open messages that the broker speaks of, this one or all up to it."""
        tags = takewhile(lambda each: each <= tag, list(self._open)) if multiple else [tag]
        return {each: self._open.pop(each) for each in tags if each in self._open}
