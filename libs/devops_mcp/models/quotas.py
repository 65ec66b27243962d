"""How much may be used by day and month, by a tenant and by each of its principals."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from pydantic import Field

from devops_mcp.models.base import Model

TENANT = UUID(int=0)
"""Stands for the tenant as a whole where a principal could stand."""
MAX_AMOUNT = 10**15


class QuotaName(StrEnum):
    TOOL_CALLS_PER_DAY = "tool_calls_per_day"
    TOOL_CALLS_PER_MONTH = "tool_calls_per_month"
    TOOL_TOKENS_PER_DAY = "tool_tokens_per_day"
    TOOL_TOKENS_PER_MONTH = "tool_tokens_per_month"
    EMBEDDING_TOKENS_PER_DAY = "embedding_tokens_per_day"
    EMBEDDING_TOKENS_PER_MONTH = "embedding_tokens_per_month"

    @property
    def amount_of(self) -> str:
        """Such as `tool calls`."""
        return self.value.partition("_per_")[0].replace("_", " ")

    @property
    def period(self) -> str:
        """`day` or `month`, both in UTC."""
        return self.value.partition("_per_")[2]

    def begins(self, now: datetime) -> datetime:
        """When the period began that holds `now`, which is in UTC."""
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight if self.period == "day" else midnight.replace(day=1)

    def renews(self, now: datetime) -> datetime:
        """When the next one begins."""
        begins = self.begins(now)
        if self.period == "day":
            return begins + timedelta(days=1)
        return (begins + timedelta(days=32)).replace(day=1)


class QuotaDraft(Model):
    """How much may be used; null: as much as one likes. Days and months are those of UTC.

    A tool's tokens are what its answers are for a language model; they are known once it has answered, so that the last call before the
    end may go beyond it. Tokens of embeddings are those that a request for vectors pays for; searches and what the platform embeds by
    itself are counted, and never refused.
    """

    tool_calls_per_day: int | None = Field(default=None, ge=0, le=MAX_AMOUNT)
    tool_calls_per_month: int | None = Field(default=None, ge=0, le=MAX_AMOUNT)
    tool_tokens_per_day: int | None = Field(default=None, ge=0, le=MAX_AMOUNT)
    tool_tokens_per_month: int | None = Field(default=None, ge=0, le=MAX_AMOUNT)
    embedding_tokens_per_day: int | None = Field(default=None, ge=0, le=MAX_AMOUNT)
    embedding_tokens_per_month: int | None = Field(default=None, ge=0, le=MAX_AMOUNT)

    def limits(self) -> Mapping[QuotaName, int]:
        """Those that there are."""
        amounts = {name: getattr(self, name.value) for name in QuotaName}
        return {name: amount for name, amount in amounts.items() if amount is not None}


class QuotaStanding(Model):
    """How one stands: `used` of `limit` up to a second ago, and when it begins anew."""

    quota: QuotaName
    limit: int
    used: int
    renews_at: datetime


class Quotas(QuotaDraft):
    """What one principal may use, or with `principal_id` null the tenant as a whole, and how it stands."""

    UNVERSIONED: ClassVar[frozenset[str]] = frozenset({"standings"})

    principal_id: UUID | None
    standings: tuple[QuotaStanding, ...]


class QuotasInForce(Model):
    """What holds for a caller: the quotas of its tenant, and its own."""

    tenant: Quotas
    own: Quotas
