"""How the web wakes the scheduler: PostgreSQL's NOTIFY, delivered when the transaction commits."""

from django.db import connection

CHANNEL = "datarun_jobs"


def scheduler() -> None:
    """There is work to dispatch."""
    with connection.cursor() as cursor:
        cursor.execute(f"NOTIFY {CHANNEL}")
