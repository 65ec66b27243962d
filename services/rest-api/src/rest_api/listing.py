"""What every list takes beside its filters: how it is sorted, from where on, and how many at a time."""

from collections.abc import Iterable
from typing import Generic, Literal, TypeAlias, TypeVar

import orjson
from pydantic import BaseModel, Field

from devops_mcp.models.base import Model
from devops_mcp.models.pages import MAX_PAGE, Order, Page

ModelT = TypeVar("ModelT", bound=BaseModel)
SortT = TypeVar("SortT", bound=str)
Age: TypeAlias = Literal["-created_at", "created_at"]
Name: TypeAlias = Literal["name", "-name"]


class Listing(Model, Generic[SortT]):
    """A page of a list; `cursor` is `next_cursor` of the page before. Which `sort` there is, each list declares."""

    sort: SortT
    cursor: str | None = None
    limit: int = Field(default=20, ge=1, le=MAX_PAGE)

    @property
    def order(self) -> Order:
        return Order.of(self.sort, self.cursor)

    def part(self, model: type[ModelT]) -> ModelT:
        """The filters, which are those of `model`."""
        return model(**self.model_dump(include=set(model.model_fields)))


class ByAge(Listing[Age]):
    """A page of a list in the order in which what it holds was made or came."""

    sort: Age = "-created_at"


class ByName(Listing[Name]):
    """A page of a list in the order of the names."""

    sort: Name = "name"


def page_of(
    members: Iterable[ModelT], params: Listing[SortT], key: tuple[str, ...] = ("name",)
) -> "Page[ModelT]":
    """A page of a list that is held whole, whose members are told apart by the fields `key`.

    The cursor is where the last member stands, not how many came before it: what comes or goes meanwhile moves none of the others.
    """
    order, after = params.sort.removeprefix("-"), params.cursor and tuple(orjson.loads(params.cursor))
    down = order != params.sort

    def place(member: ModelT) -> tuple[str, ...]:
        return tuple(str(getattr(member, field)) for field in (order, *key))

    behind = [one for one in members if not after or (place(one) < after if down else place(one) > after)]
    behind.sort(key=place, reverse=down)
    more = len(behind) > params.limit
    cursor = orjson.dumps(place(behind[params.limit - 1])).decode() if more else None
    return Page(items=tuple(behind[: params.limit]), next_cursor=cursor)
