"""What PostgreSQL itself has seen happen to each job: triggers write down every change, whoever makes it.

Independent of the platform's own code: the numbers of a trial come from here and from what clients are given.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg2

T = TypeVar("T")

#: Seconds for what comes at once or soon, on a machine that has other work too.
PATIENCE = 60.0
_AWAY = 90.0  # seconds for PostgreSQL to answer: it may be what is broken

_SET_UP = """
    CREATE TABLE ledger (
        number bigserial PRIMARY KEY, at timestamptz DEFAULT clock_timestamp(),
        job uuid, attempt integer, before text, after text, runner text
    );
    CREATE INDEX ON ledger (job);
    CREATE TABLE ledger_prediction (fold bigint);
    CREATE FUNCTION note_job() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO ledger (job, attempt, before, after, runner)
        VALUES (new.id, new.attempt, old.state, new.state, new.runner);
        RETURN NULL;
    END $$;
    CREATE FUNCTION note_prediction() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO ledger_prediction VALUES (new.fold_id);
        RETURN NULL;
    END $$;
    CREATE TRIGGER ledger AFTER UPDATE OF state ON runapp_job FOR EACH ROW EXECUTE FUNCTION note_job();
    CREATE TRIGGER ledger AFTER INSERT OR UPDATE ON runapp_prediction
        FOR EACH ROW EXECUTE FUNCTION note_prediction();
"""

#: Data sets that are being prepared now.
PREPARING = "data sets in preparation"
#: What a fold may be seen as; a strike waits until there are some of each.
STATES = (
    *(PREPARING, "waiting for data", "created", "queued", "running", "trained", "validated"),
    *("succeeded", "failed", "cancelled"),
)
_JOBS = """
    FROM runapp_submissionfold AS fold JOIN runapp_job AS job ON job.id = fold.job_id
    WHERE fold.databoard_sf_id = ANY (%s)
"""
_CENSUS = f"""
    SELECT CASE WHEN waits_for_data AND state = 'created' THEN 'waiting for data'
                WHEN state = 'running' AND stage <> '' THEN stage ELSE state END, count(*)
    {_JOBS} GROUP BY 1
    UNION ALL
    SELECT '{PREPARING}', count(*) FROM runapp_job WHERE kind = 'prepare' AND state = 'running'
"""
_ENDS = f"""
    SELECT fold.databoard_sf_id, state, failure, message, runner,
        (SELECT coalesce(json_agg(json_build_array(runner, message) ORDER BY number), '[]')
         FROM runapp_attempt AS earlier WHERE earlier.job_id = job.id AND outcome <> 'handed back'),
        (SELECT count(*) FROM runapp_attempt AS earlier WHERE earlier.job_id = job.id AND outcome = 'handed back')
    {_JOBS}
"""
_OUTLIVE = f"""
    WITH late AS (
        SELECT job.id, fold.databoard_sf_id {_JOBS} AND state = 'created' AND NOT waits_for_data
        ORDER BY 2 DESC LIMIT 1
    )
    UPDATE runapp_job AS job SET deadline = now() FROM late WHERE job.id = late.id RETURNING late.databoard_sf_id
"""
_WAITING_TO_PREDICT = """
    SELECT count(*) FROM pg_locks WHERE relation = 'runapp_prediction'::regclass AND NOT granted
"""
_TWICE = """
    SELECT fold.databoard_sf_id FROM ledger JOIN runapp_submissionfold AS fold ON job_id = job
    WHERE fold.databoard_sf_id = ANY (%s) AND after IN ('succeeded', 'failed', 'cancelled')
    GROUP BY 1 HAVING count(*) > 1
    UNION
    SELECT fold.databoard_sf_id FROM ledger JOIN runapp_submissionfold AS fold ON job_id = job
    WHERE fold.databoard_sf_id = ANY (%s) AND after = 'running' GROUP BY 1, attempt HAVING count(*) > 1
    UNION
    SELECT fold FROM ledger_prediction WHERE fold = ANY (%s) GROUP BY fold HAVING count(*) > 1
"""


@dataclass(frozen=True)
class End:
    """How a fold's job stands.

    `lost` has the runner, or "", and the reason of each attempt before the last one, except those that a runner gave
    back: these cost nothing, and `handed_back` is their number.
    """

    state: str
    failure: str
    message: str
    runner: str
    lost: list[tuple[str, str]]
    handed_back: int


class Ledger:
    """Asks PostgreSQL at `url`; waits for it when it is away."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Any = None

    def set_up(self) -> None:
        """Adds the triggers to the platform's tables."""
        self.ask(_SET_UP)

    def ask(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """The rows that PostgreSQL answers; asked again while it is away."""
        until = time.monotonic() + _AWAY
        while True:
            try:
                return self._ask(query, parameters)
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                self._connection = None
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def _ask(self, query: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = psycopg2.connect(self._url, connect_timeout=5)
            self._connection.autocommit = True
        with self._connection.cursor() as cursor:
            cursor.execute(query, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def one(self, query: str, *parameters: Any) -> Any:
        """The first value of the first row, or None."""
        rows = self.ask(query, *parameters)
        return rows[0][0] if rows else None

    def now(self) -> float:
        """Seconds, by PostgreSQL's clock."""
        return float(self.one("SELECT extract(epoch FROM clock_timestamp())"))

    def wait_for_collection(self) -> None:
        """Returns in the middle of a collector's transaction, which hangs there until PostgreSQL ends.

        Jobs have their new states then, and wait for their predictions.
        """
        blocker = psycopg2.connect(self._url)  # it goes with PostgreSQL
        blocker.cursor().execute("LOCK TABLE runapp_prediction IN SHARE MODE")
        wait_for(lambda: self.one(_WAITING_TO_PREDICT), "a collector in the middle of a batch")

    # --- runners and schedulers ------------------------------------------------------------------

    def active_scheduler(self) -> str | None:
        """What the scheduler calls itself that holds the lease, if any does."""
        return self.one("SELECT holder FROM runapp_schedulerlease WHERE until > now()")  # type: ignore[no-any-return]

    def live_runners(self) -> set[str]:
        """The names of runners that have been heard of lately."""
        rows = self.ask(
            "SELECT name FROM runapp_runner WHERE last_seen > now() - interval '6 s' AND NOT leaving"
        )
        return {name for (name,) in rows}

    def dropped(self) -> Counter[str]:
        """How many messages were dropped so far, by reason."""
        return Counter(dict(self.ask("SELECT reason, count(*) FROM runapp_dropped GROUP BY 1")))

    # --- folds -----------------------------------------------------------------------------------

    def census(self, folds: Collection[int]) -> Counter[str]:
        """How many of the folds are in each of `STATES`, at one moment."""
        return Counter(dict(self.ask(_CENSUS, list(folds))))

    def left(self, folds: Collection[int]) -> int:
        """How many of the folds have not ended."""
        return int(self.one(f"SELECT count(*) {_JOBS} AND finished_at IS NULL", list(folds)))

    def in_flight(self, folds: Collection[int]) -> list[int]:
        """Those of the folds that are queued or running."""
        rows = self.ask(
            f"SELECT fold.databoard_sf_id {_JOBS} AND state IN ('queued', 'running')", list(folds)
        )
        return [id for (id,) in rows]

    def running_on(
        self, runner: str, folds: Collection[int], stage: str = "", seconds: float = 0
    ) -> list[int]:
        """Those of the folds that run on this runner, for so long, and are at this stage if one is given."""
        query = f"""
            SELECT fold.databoard_sf_id {_JOBS} AND state = 'running' AND runner = %s AND %s IN ('', stage)
            AND started_at <= now() - make_interval(secs => %s) ORDER BY 1
        """
        return [id for (id,) in self.ask(query, list(folds), runner, stage, seconds)]

    def outlive(self, folds: Collection[int]) -> int:
        """Has one of the folds wait for longer than it may, of those that have longest to wait; returns which."""
        return int(self.one(_OUTLIVE, list(folds)))

    def ended_at(self, folds: Collection[int]) -> float:
        """When the last of these folds ended, by PostgreSQL's clock; infinite if one has not."""
        query = f"SELECT extract(epoch FROM max(finished_at)), count(*) FILTER (WHERE finished_at IS NULL) {_JOBS}"
        at, left = self.ask(query, list(folds))[0]
        return float("inf") if left else float(at or 0)

    def first_end_after(self, folds: Collection[int], moment: float) -> float | None:
        """When the first of the folds ended that did so after `moment`; both by PostgreSQL's clock."""
        query = f"SELECT extract(epoch FROM min(finished_at)) {_JOBS} AND finished_at > to_timestamp(%s)"
        at = self.one(query, list(folds), moment)
        return None if at is None else float(at)

    def ends(self, folds: Collection[int]) -> dict[int, End]:
        """How each fold's job stands; a fold that is not there any more is missing."""
        rows = self.ask(_ENDS, list(folds))
        return {
            id: End(state, failure, message, runner, [(name, why) for name, why in lost], handed_back)
            for id, state, failure, message, runner, lost, handed_back in rows
        }

    def counted_twice(self, folds: Collection[int]) -> set[int]:
        """Folds that ended more than once, of which an attempt started more than once, or that predicted twice."""
        ids = list(folds)
        return {id for (id,) in self.ask(_TWICE, ids, ids, ids)}


def wait_for(condition: Callable[[], T], what: str, timeout: float = PATIENCE, period: float = 0.05) -> T:
    """What `condition` returns as soon as it is true."""
    until = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < until, f"{what} did not come about within {timeout:g} s"
        time.sleep(period)
    return value
