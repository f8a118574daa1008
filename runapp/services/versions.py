"""Whether rows have changed, without reading what is in them: from PostgreSQL's own versions of rows."""

import hashlib
import time
from typing import Any

from django.contrib.postgres.aggregates import StringAgg
from django.db import connection
from django.db.models import QuerySet, TextField, Value
from django.db.models.expressions import RawSQL
from django.db.models.functions import MD5, Cast, Concat

#: Seconds for which what depends on others' rows too counts as unchanged.
_WHILE = 5


def of(*rows: QuerySet[Any]) -> str:
    """A short text that changes when a row of these comes, goes or changes.

    Only the rows of the querysets' own tables count, not those that they join.
    """
    return hashlib.sha256(repr([_of(each) for each in rows]).encode()).hexdigest()[:20]


def _of(rows: QuerySet[Any]) -> str | None:
    # xmin is the transaction that wrote a row as it is now, the key tells rows apart.
    table = connection.ops.quote_name(rows.model._meta.db_table)
    xmin = RawSQL(f"{table}.xmin::text", (), TextField())  # noqa: S611 - a name of ours
    row = Concat(Cast("pk", TextField()), Value(".", TextField()), xmin, output_field=TextField())
    together = rows.order_by().aggregate(version=MD5(StringAgg(row, ",", order_by="pk")))
    version: str | None = together["version"]
    return version


def now() -> int:
    """The same for some seconds, for what depends on the time or on everybody's rows."""
    return int(time.time() // _WHILE)
