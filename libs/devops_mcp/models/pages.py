"""Pages of lists: what every listing takes and returns."""

from typing import Generic, TypeVar

from devops_mcp.models.base import Model

T = TypeVar("T")

MAX_PAGE = 100


class Page(Model, Generic[T]):
    """One page. `next_cursor` is opaque; None means that this was the last page."""

    items: tuple[T, ...]
    next_cursor: str | None = None
