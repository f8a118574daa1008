"""A migrated database for benchmarks, filled by SQL. Uses `DATABASE_URL`; see the README."""

import os
import uuid

import django
from django.core.management import call_command
from django.db import connection

_FILL = """
INSERT INTO runapp_blob (sha256, size, content) VALUES (repeat('a', 64), 8, '\\x0000000000000000')
    ON CONFLICT DO NOTHING;
INSERT INTO runapp_rawdata (name, target_column, workflow_elements, files, module)
    SELECT 'data ' || g, 'y', 'classifier', '{}', '' FROM generate_series(1, 10) g;
INSERT INTO runapp_submission (databoard_s_id, raw_data_id, files)
    SELECT g, (SELECT min(id) FROM runapp_rawdata) + g %% 10, '{}' FROM generate_series(0, %(folds)s / 10) g;
CREATE TEMPORARY TABLE ids ON COMMIT DROP AS
    SELECT g, gen_random_uuid() AS id FROM generate_series(1, %(folds)s) g;
INSERT INTO runapp_job (id, kind, queue, state, stage, attempt, losses, runner, share, waits_for_data,
        cancel_requested, deadline, created_at, queued_at, started_at, finished_at, failure, message, log)
    SELECT id, 'fold', 'L', CASE WHEN done THEN 'succeeded' ELSE 'created' END, '', 1, 0, 'bench',
        'user ' || g %% 300, false, false, CASE WHEN NOT done THEN now() + interval '30 days' END,
        now() - interval '1 day' + g * interval '1 ms', now(), now() - interval '10 s',
        CASE WHEN done THEN now() - interval '1 hour' + g * interval '1 ms' END, '', '', ''
    FROM (SELECT g, id, g <= %(folds)s - %(waiting)s AS done FROM ids) AS jobs;
INSERT INTO runapp_submissionfold (databoard_sf_id, databoard_s_id, job_id, train_is_id, test_is_id, priority,
        max_index, new, train_time, validation_time, test_time, train_cpu_time, test_cpu_time, train_memory,
        test_memory)
    SELECT g, g / 10, id, repeat('a', 64), repeat('a', 64), 'L', 5, g %% 1000 = 0, 0, 0, 0, 0, 0, 0, 0 FROM ids;
"""


def set_up() -> None:
    """Django with its tables, in the database that `DATABASE_URL` names."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "datarun.settings")
    django.setup()
    call_command("migrate", verbosity=0)


def fill(folds: int, waiting: int) -> None:
    """Empties the tables, then makes `folds` folds, the last `waiting` of them waiting, and analyses them."""
    call_command("flush", interactive=False, verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(_FILL, {"folds": folds, "waiting": waiting})
        cursor.execute("COMMIT")
        cursor.execute("VACUUM ANALYZE")


def start(number: int, runner: str = "bench") -> list[uuid.UUID]:
    """Takes waiting jobs through queue and claim; returns the ids of the running ones, at attempt 2."""
    from runapp import states
    from runapp.models import Job

    waiting = Job.objects.filter(state="created").order_by("created_at").values_list("id", flat=True)
    ids = sorted(states.queue(list(waiting[:number])))
    Job.objects.filter(pk__in=ids).update(state="running", runner=runner)
    return ids
