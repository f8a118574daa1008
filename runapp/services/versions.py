"""Whether rows have changed, without reading what is in them: from PostgreSQL's own versions of rows."""

import hashlib
import time
from typing import Any

from django.db import connection
from django.db.models import QuerySet
from django.db.models.expressions import RawSQL

#: Seconds for which what depends on others' rows too counts as unchanged.
_WHILE = 5


def of(*rows: QuerySet[Any]) -> str:
    """A short text that changes when a row of these comes, goes or changes.

    Only the rows of the querysets' own tables count, not those that they join.
    """
    digest = hashlib.sha256()
    for each in rows:
        # xmin is the transaction that wrote a row as it is now, the key tells rows apart.
        table = connection.ops.quote_name(each.model._meta.db_table)
        version = RawSQL(f"{table}.xmin::text", ())  # noqa: S611 - a name of ours
        for row in each.order_by("pk").annotate(_version=version).values_list("pk", "_version"):
            digest.update(repr(row).encode())
        digest.update(b"|")
    return digest.hexdigest()[:20]


def now() -> int:
    """The same for some seconds, for what depends on the time or on everybody's rows."""
    return int(time.time() // _WHILE)
