"""Lists sorted by a field of a declared list, page by page: by key, so that a page costs the same wherever it is."""

from collections.abc import Mapping
from typing import LiteralString

from devops_mcp.models.pages import CREATED, Order

Columns = Mapping[LiteralString, LiteralString]
"""The columns that may be sorted by, with their types."""


BY_AGE: Columns = {}
"""Of lists that are sorted by nothing else."""


def behind(columns: Columns, order: Order, key: LiteralString = "id") -> LiteralString:
    """The condition on what comes behind the order's position: TRUE at the beginning. Its values are those of `values_of`."""
    sign = "<" if order.descending else ">"
    if order.field == CREATED:
        return f"(%(after_id)s::uuid IS NULL OR {key} {sign} %(after_id)s)"
    column = _declared(columns, order)
    return f"(%(after_id)s::uuid IS NULL OR ({column}, id) {sign} (%(after)s::{columns[column]}, %(after_id)s::uuid))"


def by(columns: Columns, order: Order, key: LiteralString = "id") -> LiteralString:
    """What follows ORDER BY."""
    direction = "DESC" if order.descending else "ASC"
    if order.field == CREATED:
        return f"{key} {direction}"
    return f"{_declared(columns, order)} {direction}, id {direction}"


def values_of(order: Order) -> dict[str, object]:
    return {"after_id": order.after_id, "after": order.after}


def _declared(columns: Columns, order: Order) -> LiteralString:
    """The column as it is declared, whoever named it."""
    return next(column for column in columns if column == order.field)
