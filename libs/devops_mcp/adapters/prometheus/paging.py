"""Pages of a list that Prometheus gives only whole."""

from collections.abc import Sequence
from typing import TypeVar

from devops_mcp.models.errors import InvalidInput, Violation

T = TypeVar("T")


def page(items: Sequence[T], limit: int, cursor: str | None) -> tuple[list[T], str | None]:
    """The items of one page, and the cursor of the next; None on the last."""
    begin = _offset(cursor)
    end = begin + limit
    return list(items[begin:end]), str(end) if end < len(items) else None


def _offset(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= 9):
        problem = "is not a cursor of ours; take next_cursor of the page before"
        raise InvalidInput(f"cursor {problem}", (Violation("arguments.cursor", problem),))
    return int(cursor)
