"""Admin lists of tables with millions of rows: found by id, counted as far as anybody pages.

What Django does by default reads the whole table, for every page.
"""

from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, cast

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Field, Q, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
    RowsPaginator = Paginator[Any]
else:  # generic for type checkers only
    ModelAdmin = admin.ModelAdmin
    RowsPaginator = Paginator

#: Rows that can be paged through; to see further ones, filter.
MOST = 1000


class BoundedPaginator(RowsPaginator):
    @cached_property
    def count(self) -> int:
        rows = cast("QuerySet[Any]", self.object_list)
        return rows.order_by("pk")[:MOST].count()


class ManyRowsAdmin(ModelAdmin):
    """Names the columns that have an index to be searched and sorted by."""

    paginator = BoundedPaginator
    show_full_result_count = False
    #: Columns with ids: the row with the whole id is found, not those with a part of it.
    search_fields: ClassVar[tuple[str, ...]] = ()
    sortable_by: ClassVar[tuple[str, ...]] = ()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if not search_term:
            return queryset, False
        wanted = Q(pk__in=[])
        for name in self.search_fields:
            with suppress(ValidationError):
                field = cast("Field[Any, Any]", self.opts.get_field(name))
                wanted |= Q((name, field.to_python(search_term)))
        return queryset.filter(wanted), False
