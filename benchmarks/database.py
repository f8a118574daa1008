"""A migrated database for benchmarks, filled by SQL. Uses `DATABASE_URL`; see the README."""

import os
import uuid

import django
import numpy as np
from django.core.management import call_command
from django.db import connection

from datarun.contract import npy

#: Folds of ten data sets, ten to a submission, in the order in which they were posted, by 300 users. All but the last
#: `waiting` have run: one in 19 failed, one in 20 needed two attempts, one in a thousand is new.
#: For one in three a claim was dropped, and for one in 30,000 something that can't be read.
_FILL = """
INSERT INTO runapp_blob (sha256, size, content) VALUES (repeat('a', 64), 8, '\\x0000000000000000')
    ON CONFLICT DO NOTHING;
INSERT INTO runapp_rawdata (name, target_column, workflow_elements, files, module)
    SELECT 'data ' || g, 'y', 'classifier', '{"data.csv": "a"}', '' FROM generate_series(0, 9) g;
INSERT INTO runapp_job (id, kind, queue, state, stage, attempt, losses, runner, share, waits_for_data,
        cancel_requested, deadline, started_at, finished_at, failure, message, log,
        train_time, validation_time, test_time, train_cpu_time, test_cpu_time, train_memory, test_memory)
    SELECT ('00000000-0000-0000-0000-' || lpad(g::text, 12, '0'))::uuid, 'prepare', 'celery', 'succeeded', '', 1, 0,
        'bench', 'user 0', false, false, NULL, now(), now(), '', '', '', 0, 0, 0, 0, 0, 0, 0
    FROM generate_series(0, 9) g;
INSERT INTO runapp_prepareddata (raw_data_id, job_id, held_out_test, random_state, n_train, n_test, files)
    SELECT id, ('00000000-0000-0000-0000-' || lpad((row_number() OVER (ORDER BY id) - 1)::text, 12, '0'))::uuid,
        0.2, 42, 8, 2, '{"train_rows": "a", "test_rows": "a"}' FROM runapp_rawdata;
INSERT INTO runapp_submission (databoard_s_id, raw_data_id, files)
    SELECT g, (SELECT min(id) FROM runapp_rawdata) + g %% 10, '{"classifier.py": "a"}'
    FROM generate_series(0, %(folds)s / 10) g;
CREATE TEMPORARY TABLE filled ON COMMIT DROP AS
    SELECT g, gen_random_uuid() AS id, g <= %(folds)s - %(waiting)s AS done, g %% 19 = 0 AS failed
    FROM generate_series(1, %(folds)s) g;
INSERT INTO runapp_job (id, kind, queue, state, stage, attempt, losses, runner, share, waits_for_data,
        cancel_requested, deadline, created_at, queued_at, started_at, finished_at, failure, message, log,
        train_time, validation_time, test_time, train_cpu_time, test_cpu_time, train_memory, test_memory,
        databoard_sf_id)
    SELECT id, 'fold', 'L',
        CASE WHEN NOT done THEN 'created' WHEN failed THEN 'failed' ELSE 'succeeded' END, '', done::int, 0,
        CASE WHEN done THEN 'bench' ELSE '' END,
        'user ' || g %% 300, false, false, CASE WHEN NOT done THEN now() + interval '30 days' END,
        now() - interval '1 day' + g * interval '1 ms',
        CASE WHEN done THEN now() - interval '1 hour' + (g - 20) * interval '1 ms' END,
        CASE WHEN done THEN now() - interval '1 hour' + (g - 10) * interval '1 ms' END,
        CASE WHEN done THEN now() - interval '1 hour' + g * interval '1 ms' END,
        CASE WHEN done AND failed THEN 'user_error' ELSE '' END, '', '', 0, 0, 0, 0, 0, 0, 0, g
    FROM filled;
INSERT INTO runapp_submissionfold (databoard_sf_id, databoard_s_id, job_id, prepared_id, train_is_id, test_is_id,
        priority, max_index, new)
    SELECT g, g / 10, filled.id, prepared.id, repeat('a', 64), repeat('a', 64), 'L', 5, NOT done OR g %% 999 = 0
    FROM filled JOIN runapp_submission AS submission ON databoard_s_id = g / 10
    JOIN runapp_prepareddata AS prepared USING (raw_data_id);
INSERT INTO runapp_prediction (fold_id, train, test)
    SELECT g, %(array)s, %(array)s FROM filled WHERE done AND NOT failed;
INSERT INTO runapp_attempt (job_id, number, runner, outcome, failure, message, log)
    SELECT id, 0, 'bench', 'failed', 'lost', '', '' FROM filled WHERE done AND g %% 20 = 1;
INSERT INTO runapp_dropped (reason, runner, job, detail)
    SELECT CASE WHEN g %% 30000 = 3 THEN 'parked' ELSE 'stale claim' END, 'bench', id, '' FROM filled WHERE g %% 3 = 0;
"""


def set_up() -> None:
    """Django with its tables, in the database that `DATABASE_URL` names."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "datarun.settings")
    os.environ["DEBUG"] = "no"  # with it Django keeps every statement
    django.setup()
    call_command("migrate", verbosity=0)


def fill(folds: int, waiting: int) -> None:
    """Empties the tables, then makes `folds` folds, the last `waiting` of them waiting, and analyses them."""
    call_command("flush", interactive=False, verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(_FILL, {"folds": folds, "waiting": waiting, "array": npy.dumps(np.zeros(2))})
        cursor.execute("COMMIT")
        cursor.execute("VACUUM ANALYZE")


def start(number: int, runner: str = "bench") -> list[uuid.UUID]:
    """Takes waiting jobs through queue and claim; returns the ids of the running ones, at attempt 1."""
    from runapp import states
    from runapp.models import Job

    waiting = Job.objects.filter(state="created").order_by("created_at").values_list("id", flat=True)
    ids = sorted(states.queue(list(waiting[:number])))
    Job.objects.filter(pk__in=ids).update(state="running", runner=runner)
    return ids


#: One data set with so many whole submissions, the last of a thousand incomplete, and their scores by two metrics.
_FILL_SCORES = """
INSERT INTO runapp_blob (sha256, size, content) VALUES (repeat('a', 64), 8, '\\x0000000000000000')
    ON CONFLICT DO NOTHING;
INSERT INTO runapp_rawdata (name, target_column, workflow_elements, files, module, cv, metrics)
    VALUES ('large', 'y', 'classifier', '{"data.csv": "a"}', '',
        '{"splitter": "KFold", "parameters": {}, "groups": null}', '["accuracy", "roc_auc"]');
INSERT INTO runapp_job (id, kind, queue, state, stage, attempt, losses, runner, share, waits_for_data,
        cancel_requested, deadline, started_at, finished_at, failure, message, log,
        train_time, validation_time, test_time, train_cpu_time, test_cpu_time, train_memory, test_memory)
    VALUES ('00000000-0000-0000-0000-000000000000', 'prepare', 'celery', 'succeeded', '', 1, 0,
        'bench', 'user 0', false, false, NULL, now(), now(), '', '', '', 0, 0, 0, 0, 0, 0, 0);
INSERT INTO runapp_prepareddata (raw_data_id, job_id, held_out_test, random_state, n_train, n_test, files)
    SELECT id, '00000000-0000-0000-0000-000000000000', 0.2, 42, 8, 2, '{"train_rows": "a", "test_rows": "a"}'
    FROM runapp_rawdata;
INSERT INTO runapp_cvfold (prepared_id, number, train_is_id, test_is_id)
    SELECT id, g - 1, repeat('a', 64), repeat('a', 64) FROM runapp_prepareddata, generate_series(1, %(folds)s) g;
INSERT INTO runapp_submission (databoard_s_id, raw_data_id, files, name, whole)
    SELECT g, (SELECT id FROM runapp_rawdata), '{"classifier.py": "a"}', 'submission ' || g, true
    FROM generate_series(1, %(submissions)s) g;
CREATE TEMPORARY TABLE filled ON COMMIT DROP AS
    SELECT s, n, s * 1000 + n AS fold, gen_random_uuid() AS id, NOT (s %% 1000 = 0 AND n = 0) AS done
    FROM generate_series(1, %(submissions)s) s, generate_series(0, %(folds)s - 1) n;
INSERT INTO runapp_job (id, kind, queue, state, stage, attempt, losses, runner, share, waits_for_data,
        cancel_requested, deadline, finished_at, failure, message, log,
        train_time, validation_time, test_time, train_cpu_time, test_cpu_time, train_memory, test_memory,
        databoard_sf_id)
    SELECT id, 'fold', 'L', CASE WHEN done THEN 'succeeded' ELSE 'failed' END, '', 1, 0, 'bench', 'user 0', false,
        false, NULL, now(), CASE WHEN done THEN '' ELSE 'user_error' END, '', '', 1, 0, 1, 0, 0, 0, 0, fold
    FROM filled;
INSERT INTO runapp_submissionfold (databoard_sf_id, databoard_s_id, job_id, prepared_id, cv_fold_id, train_is_id,
        test_is_id, priority, max_index, new)
    SELECT fold, s, filled.id, cv.prepared_id, cv.id, repeat('a', 64), repeat('a', 64), 'L', 5, false
    FROM filled JOIN runapp_cvfold AS cv ON cv.number = n;
INSERT INTO runapp_score (fold_id, metric, part, value)
    SELECT fold, metric, part, random() FROM filled, unnest(ARRAY['accuracy', 'roc_auc']) AS metric,
        unnest(ARRAY['train', 'valid', 'test']) AS part WHERE done;
INSERT INTO runapp_submissionscore (submission_id, raw_data_id, metric, part, folds, mean, std, bagged, curve)
    SELECT databoard_s_id, (SELECT id FROM runapp_rawdata), metric, part, count(*), avg(value),
        stddev_pop(value), avg(value), jsonb_agg(value)
    FROM runapp_score JOIN runapp_submissionfold ON fold_id = databoard_sf_id
    GROUP BY databoard_s_id, metric, part;
"""


def fill_scores(submissions: int, folds: int) -> None:
    """Empties the tables, then makes so many whole submissions to one data set, with so many scored folds each."""
    call_command("flush", interactive=False, verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(_FILL_SCORES, {"submissions": submissions, "folds": folds})
        cursor.execute("COMMIT")
        cursor.execute("VACUUM ANALYZE")
