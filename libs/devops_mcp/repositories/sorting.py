"""Lists sorted by a field of a declared list, page by page: by key, so that a page costs the same wherever it is."""

from collections.abc import Mapping
from typing import LiteralString

from psycopg import sql

from devops_mcp.models.pages import CREATED, Order

Columns = Mapping[str, LiteralString]
"""The columns that may be sorted by, with their types."""


def behind(columns: Columns, order: Order) -> sql.Composed:
    """The condition on what comes behind the order's position: TRUE at the beginning. Its values are those of `values_of`."""
    if order.field == CREATED:
        only = sql.SQL("<" if order.descending else ">")
        return sql.SQL("(%(after_id)s::uuid IS NULL OR id {sign} %(after_id)s)").format(sign=only)
    return sql.SQL(
        "(%(after_id)s::uuid IS NULL OR ({column}, id) {sign} (%(after)s::{type}, %(after_id)s::uuid))"
    ).format(
        column=sql.Identifier(order.field),
        sign=sql.SQL("<" if order.descending else ">"),
        type=sql.SQL(columns[order.field]),
    )


def by(order: Order) -> sql.Composed:
    """What follows ORDER BY."""
    direction = sql.SQL("DESC" if order.descending else "ASC")
    if order.field == CREATED:
        return sql.SQL("id {direction}").format(direction=direction)
    return sql.SQL("{column} {direction}, id {direction}").format(
        column=sql.Identifier(order.field), direction=direction
    )


def values_of(order: Order) -> dict[str, object]:
    return {"after_id": order.after_id, "after": order.after}
