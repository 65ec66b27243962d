"""Models that embed: what is told of them, who has chosen which, and what they cost."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from devops_mcp.models.base import Model

TENANT = UUID(int=0)
"""Stands for the tenant where a principal could stand."""


class ModelView(Model):
    """A model that can be chosen. `price_per_million_tokens` is in US dollars, 0 for one of one's own; `stands_in_for` share its space."""

    name: str
    provider: str
    space: str
    dimensions: int
    normalised: bool
    price_per_million_tokens: float
    max_tokens: int
    max_batch: int
    is_default: bool
    stands_in_for: tuple[str, ...] = ()


class Choice(Model):
    """What an owner's passages are embedded with. `owner_id` None is the tenant; `model` None the installation's default.

    While `finished_at` is None, passages are still being brought into `space`; they are found meanwhile, by the model that they have.
    """

    owner_id: UUID | None
    model: str | None
    space: str
    finished_at: datetime | None = None


class ModelList(Model):
    """The models, the installation's default first; the tenant's choice and the caller's own, where they have made one."""

    items: tuple[ModelView, ...]
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
