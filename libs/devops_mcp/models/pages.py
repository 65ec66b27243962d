"""Pages of lists: what every listing takes and returns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar
from uuid import UUID

import orjson

from devops_mcp.models.base import Model

T = TypeVar("T")
U = TypeVar("U")

MAX_PAGE = 100
CREATED = "created_at"
"""The order of the ids, which are made in the order of time."""


class Page(Model, Generic[T]):
    """One page. `next_cursor` is opaque; None means that this was the last page."""

    items: tuple[T, ...]
    next_cursor: str | None = None

    def shown(self, view: Callable[[T], U]) -> "Page[U]":
        """The same page, of what `view` makes of its members."""
        return Page(items=tuple(view(item) for item in self.items), next_cursor=self.next_cursor)


@dataclass(frozen=True, slots=True)
class WrittenPage:
    """A page as `Page` has it, whose members are JSON."""

    items: Sequence[str]
    next_cursor: str | None = None

    def as_json(self) -> bytes:
        """The whole, as `Page` is written."""
        cursor = orjson.dumps(self.next_cursor).decode()
        return f'{{"items":[{",".join(self.items)}],"next_cursor":{cursor}}}'.encode()


class WrittenRow(Protocol):
    """A member of a list as it comes from the database, not yet JSON."""

    @property
    def json(self) -> str: ...

    def value(self, field: str) -> str:
        """What a field of it is, as the database writes it; it is never null."""
        ...


class Listed(Protocol):
    """What is in a list that can be sorted."""

    @property
    def id(self) -> UUID: ...


ListedT = TypeVar("ListedT", bound=Listed)


class Order(Model):
    """By which field a list is sorted, and behind which of its members to go on: what is alike there is in the order of the ids."""

    field: str = CREATED
    descending: bool = True
    after_id: UUID | None = None
    after: str | None = None

    @classmethod
    def of(cls, sort: str, cursor: str | None) -> "Order":
        """As a caller says it, `-created_at` for the newest first; `cursor` is a position that `position` gave."""
        after_id, _, after = (cursor or "").partition(" ")
        return cls(
            field=sort.removeprefix("-"),
            descending=sort.startswith("-"),
            after_id=UUID(after_id) if after_id else None,
            after=after or None,
        )

    def page(self, found: Sequence[ListedT], limit: int) -> "Page[ListedT]":
        """A page of `limit` of what was found, which is one more where there are more."""
        more = self.position(found[limit - 1]) if len(found) > limit else None
        return Page(items=tuple(found[:limit]), next_cursor=more)

    def written_page(self, found: Sequence[WrittenRow], limit: int) -> WrittenPage:
        """`page`, of what is not read on the way."""
        more = None
        if len(found) > limit:
            last = found[limit - 1]
            more = (
                last.value("id") if self.field == CREATED else f"{last.value('id')} {last.value(self.field)}"
            )
        return WrittenPage([row.json for row in found[:limit]], more)

    def position(self, last: Listed) -> str:
        """Where a page ends whose last member this is."""
        if self.field == CREATED:
            return str(last.id)
        value = getattr(last, self.field)
        return f"{last.id} {value.isoformat() if isinstance(value, datetime) else value}"


NEWEST = Order()
