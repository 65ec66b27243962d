"""What every list takes beside its filters: how it is sorted, from where on, and how many at a time."""

from typing import Generic, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, Field

from devops_mcp.models.base import Model
from devops_mcp.models.pages import MAX_PAGE, Order

ModelT = TypeVar("ModelT", bound=BaseModel)
SortT = TypeVar("SortT", bound=str)
Age: TypeAlias = Literal["-created_at", "created_at"]


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
