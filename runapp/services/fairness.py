"""Whose turn it is: within a queue, slots go round those who have work waiting.

A share is a user, or a submission where one account posts for everybody (`DR_SHARE`). Each round takes the next
shares in order, one job from each, and goes on where the last one ended: the cost is an index probe a job, however
many wait. Queues don't wait for one another, but what a share may have with runners (`DR_MAX_RUNNING`) counts over all.
"""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import QuerySet

from datarun.contract import queues
from datarun.contract.states import JobState
from runapp.models import Job, Submission

from . import environments, runners

_WAITS = f"state = '{JobState.CREATED}' AND NOT waits_for_data"
_READY = f"{_WAITS} AND not_before <= statement_timestamp()"
_FLYING = f"state IN ('{JobState.QUEUED}', '{JobState.RUNNING}')"

# A loose index scan: jumps from share to share on the index job_dispatchable.
_NEXT_SHARES = f"""
    WITH RECURSIVE shares AS (
        (SELECT share FROM runapp_job
         WHERE queue = %(queue)s AND share > %(after)s AND {_READY} ORDER BY share LIMIT 1)
        UNION ALL
        SELECT (SELECT job.share FROM runapp_job AS job
                WHERE queue = %(queue)s AND job.share > shares.share AND {_READY} ORDER BY job.share LIMIT 1)
        FROM shares WHERE shares.share IS NOT NULL
    )
    SELECT share FROM shares WHERE share IS NOT NULL LIMIT %(limit)s
"""
# An order that nobody takes must not keep its share from working elsewhere.
_IN_FLIGHT = f"""
    SELECT share, count(*) FROM runapp_job
    WHERE {_FLYING} AND (state = '{JobState.RUNNING}' OR queue = ANY (%s)) GROUP BY share
"""
_OLDEST = f"""
    SELECT share, id FROM unnest(%s::text[], %s::integer[]) AS wanted (share, number)
    CROSS JOIN LATERAL (
        SELECT id, created_at FROM runapp_job AS job
        WHERE job.queue = %s AND job.share = wanted.share AND {_READY}
        ORDER BY job.created_at, job.id LIMIT wanted.number
    ) AS oldest
"""


# Before the n-th job of its share come the first n - 1 of every other share, and its n-th if that is older.
_BEFORE = f"""
    WITH RECURSIVE shares AS (
        (SELECT share FROM runapp_job WHERE queue = %(queue)s AND {_WAITS} ORDER BY share LIMIT 1)
        UNION ALL
        SELECT (SELECT job.share FROM runapp_job AS job
                WHERE queue = %(queue)s AND job.share > shares.share AND {_WAITS} ORDER BY job.share LIMIT 1)
        FROM shares WHERE shares.share IS NOT NULL
    ), mine AS (
        SELECT count(*) AS turn FROM (
            SELECT FROM runapp_job WHERE queue = %(queue)s AND share = %(share)s AND {_WAITS}
            AND (created_at, id) < (%(created)s, %(id)s) LIMIT %(limit)s
        ) AS earlier
    )
    SELECT count(*) FROM (
        SELECT FROM mine CROSS JOIN shares CROSS JOIN LATERAL (
            SELECT created_at, id, row_number() OVER (ORDER BY created_at, id) - 1 AS turn
            FROM runapp_job AS job WHERE queue = %(queue)s AND job.share = shares.share AND {_WAITS}
            ORDER BY created_at, id LIMIT mine.turn + 1
        ) AS theirs
        WHERE (theirs.turn, theirs.created_at, theirs.id) < (mine.turn, %(created)s, %(id)s) LIMIT %(limit)s
    ) AS before
"""


def share_of(owner: User | None, submission: Submission | None = None) -> str:
    """With whom a job of this owner, and of this submission if of any, shares its turns."""
    if submission is not None and settings.SHARE == "submission":
        return f"submission {submission.pk}"
    return f"user {owner.pk if owner else 0}"


def with_work(names: Sequence[str]) -> list[str]:
    """Those of the queues in which a job waits for nothing but its turn, in the given order: one look at an index."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name FROM unnest(%s::text[]) WITH ORDINALITY AS queue (name, place) WHERE EXISTS (SELECT 1 "
            "FROM runapp_job WHERE queue = name AND state = %s AND NOT waits_for_data) ORDER BY place",
            [list(names), JobState.CREATED],
        )
        return [name for (name,) in cursor.fetchall()]


class Turns:
    """Remembers, for each queue, whose turn was last, and which queue had its turn last."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}
        self._queues = list(queues.ORDER_QUEUES)

    def in_turn(self) -> list[str]:
        """The queues in the order to ask for `next`: what one takes of a share's cap, the others lack."""
        self._queues += [name for name in environments.order_queues() if name not in self._queues]
        return list(self._queues)

    def next(self, queue: str, limit: int) -> list[UUID]:
        """The jobs to dispatch now, at most `limit`, in the order of turns."""
        if limit <= 0:
            return []
        cap = settings.MAX_RUNNING_PER_SHARE or limit
        flying = in_flight() if settings.MAX_RUNNING_PER_SHARE else {}
        full = {share for share, number in flying.items() if number >= cap}
        shares = self._shares(queue, limit, full)
        turns = _deal({share: cap - flying.get(share, 0) for share in shares}, limit)
        if not turns:
            return []
        self._last[queue] = turns[-1]
        self._queues.remove(queue)
        self._queues.append(queue)
        return _pick(queue, turns)

    def _shares(self, queue: str, limit: int, full: Collection[str]) -> list[str]:
        """The next shares with work and room, starting after the last one, each once."""
        after = self._last.get(queue, "")
        number = limit + len(full)  # so many that there are enough without the full ones
        following = _scan(queue, after, number)
        if len(following) < number and after:
            following += [share for share in _scan(queue, "", number) if share <= after]
        return [share for share in following if share not in full][:limit]


def ready(queue: str) -> QuerySet[Job]:
    """The jobs that wait for their turn in the queue, those that pause before their next attempt too."""
    return Job.objects.filter(queue=queue, state=JobState.CREATED, waits_for_data=False)


def before(job: Job, limit: int) -> int:
    """How many waiting jobs of its queue have their turn before `job`, counted up to `limit`: that bounds the cost."""
    about: dict[str, Any] = {
        "queue": job.queue,
        "share": job.share,
        "created": job.created_at,
        "id": job.pk,
        "limit": limit,
    }
    with connection.cursor() as cursor:
        cursor.execute(_BEFORE, about)
        return int(cursor.fetchone()[0])


def number_in_flight(queue: str) -> int:
    """How many jobs of the queue are with runners, or on their way there."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM runapp_job WHERE queue = %s AND {_FLYING}", [queue])
        return int(cursor.fetchone()[0])


def _scan(queue: str, after: str, limit: int) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(_NEXT_SHARES, {"queue": queue, "after": after, "limit": limit})
        return [share for (share,) in cursor.fetchall()]


def in_flight() -> dict[str, int]:
    """How many jobs of each share are with runners, or on their way there; of all queues together."""
    served = {queue for runner in runners.live() for queue in runner.queues}
    with connection.cursor() as cursor:
        cursor.execute(_IN_FLIGHT, [list(served)])
        return dict(cursor.fetchall())


def _deal(rooms: dict[str, int], limit: int) -> list[str]:
    """Round after round, a turn to each share that has room."""
    turns: list[str] = []
    for number in range(limit):
        round_ = [share for share, room in rooms.items() if room > number]
        if not round_ or len(turns) >= limit:
            break
        turns += round_[: limit - len(turns)]
    return turns


def _pick(queue: str, turns: list[str]) -> list[UUID]:
    """The oldest jobs of the shares, as many of each as it has turns."""
    wanted = {share: turns.count(share) for share in dict.fromkeys(turns)}
    oldest: dict[str, list[UUID]] = {share: [] for share in wanted}
    with connection.cursor() as cursor:
        cursor.execute(_OLDEST, [list(wanted), list(wanted.values()), queue])
        for share, id in cursor.fetchall():
            oldest[share].append(id)
    return [oldest[share].pop(0) for share in turns if oldest[share]]
