"""Models: what is told of them, who has chosen which to embed with, and what that costs."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import Field

from devops_mcp.models.base import Model

TENANT = UUID(int=0)
"""Stands for the tenant where a principal could stand."""


class ModelKind(StrEnum):
    EMBEDDING = "embedding"
    LANGUAGE = "language"


class ModelView(Model):
    """A model that is configured. Prices are in US dollars for a million tokens, 0 for a model of one's own, null where nobody has said.

    `max_tokens` is the longest text of an embedding model; of a language model what it reads and writes together, as far as somebody has
    said, and `max_output_tokens` the most that it is asked to write. An embedding model can be chosen; `stands_in_for` share its space.
    """

    kind: ModelKind
    name: str
    provider: str
    used_for: str
    price_per_million_tokens: float | None
    price_per_million_output_tokens: float | None = None
    max_tokens: int | None
    max_output_tokens: int | None = None
    max_batch: int | None = None
    space: str | None = None
    dimensions: int | None = None
    normalised: bool | None = None
    is_default: bool
    stands_in_for: tuple[str, ...] = ()


class ModelsWanted(Model):
    """Which models to list: those of a kind, of a provider, whose name holds `name`."""

    kind: ModelKind | None = None
    provider: str | None = Field(default=None, min_length=1, max_length=40)
    name: str | None = Field(default=None, min_length=1, max_length=200)

    def holds(self, model: ModelView) -> bool:
        """Whether the model is one of these."""
        return (
            self.kind in (None, model.kind)
            and self.provider in (None, model.provider)
            and (self.name or "") in model.name
        )


class Choice(Model):
    """What an owner's passages are embedded with. `owner_id` None is the tenant; `model` None the installation's default.

    While `finished_at` is None, passages are still being brought into `space`; they are found meanwhile, by the model that they have.
    """

    owner_id: UUID | None
    model: str | None
    space: str
    finished_at: datetime | None = None


class ModelList(Model):
    """The models, and which of them the tenant and the caller have chosen to embed with. `next_cursor` null: this was the last page."""

    items: tuple[ModelView, ...]
    next_cursor: str | None = None
    tenant: Choice | None = None
    mine: Choice | None = None


class Vectors(Model):
    """Unit vectors, in the order of the texts. `tokens` are those paid for now, `cached` how many texts had been paid for before."""

    vectors: tuple[tuple[float, ...], ...]
    model: str
    space: str
    dimensions: int
    tokens: int
    cached: int


class Usage(Model):
    """What one principal had embedded by one model on one day (UTC). `principal_id` None is the tenant: its events and results."""

    principal_id: UUID | None
    model: str
    day: datetime
    texts: int
    cached: int
    tokens: int
    cost_usd: float


class UsageReport(Model):
    """Newest day first. The sums are over all that the filters leave, also what is not listed."""

    items: tuple[Usage, ...]
    texts: int
    cached: int
    tokens: int
    cost_usd: float = Field(description="At the prices that were configured when it was used.")
