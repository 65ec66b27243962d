"""Quotas, and what was used of them."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row, dict_row

from devops_mcp.models.base import Model
from devops_mcp.models.pages import Order
from devops_mcp.models.quotas import TENANT, QuotaDraft, QuotaName
from devops_mcp.repositories.sorting import BY_AGE, behind, by, values_of
from devops_mcp.repositories.statements import composed


class StoredQuota(QuotaDraft):
    """A row; `principal_id` may be `TENANT`."""

    principal_id: UUID


class QuotaVersion(Model):
    """That a tenant has quotas, and a text that changes whenever they do."""

    tenant_id: UUID
    version: str


class QuotaRows:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def page(self, order: Order, limit: int | None) -> list[StoredQuota]:
        """In the order of the principals' ids, where the tenant comes before all others; None: all of them."""
        async with self._connection.cursor(row_factory=class_row(StoredQuota)) as cursor:
            await cursor.execute(
                composed(
                    """
                SELECT principal_id, tool_calls_per_day, tool_calls_per_month, tool_tokens_per_day, tool_tokens_per_month,
                    embedding_tokens_per_day, embedding_tokens_per_month
                FROM quotas WHERE {behind} ORDER BY {order} LIMIT %(limit)s
                """,
                    behind=behind(BY_AGE, order, "principal_id"),
                    order=by(BY_AGE, order, "principal_id"),
                ),
                {**values_of(order), "limit": limit},
            )
            return await cursor.fetchall()

    async def find(self, principal_id: UUID) -> QuotaDraft:
        """Without limits where nobody has said any."""
        async with self._connection.cursor(row_factory=class_row(QuotaDraft)) as cursor:
            await cursor.execute(
                """
                SELECT tool_calls_per_day, tool_calls_per_month, tool_tokens_per_day, tool_tokens_per_month, embedding_tokens_per_day,
                    embedding_tokens_per_month
                FROM quotas WHERE principal_id = %s
                """,
                (principal_id,),
            )
            return await cursor.fetchone() or QuotaDraft()

    async def put(self, principal_id: UUID, draft: QuotaDraft) -> None:
        """Say anew how much may be used, under the `lock`."""
        await self._connection.execute("DELETE FROM quotas WHERE principal_id = %s", (principal_id,))
        if not draft.limits():
            return
        await self._connection.execute(
            """
            INSERT INTO quotas (principal_id, tool_calls_per_day, tool_calls_per_month, tool_tokens_per_day, tool_tokens_per_month,
                embedding_tokens_per_day, embedding_tokens_per_month, updated_at)
            VALUES (%(principal_id)s, %(tool_calls_per_day)s, %(tool_calls_per_month)s, %(tool_tokens_per_day)s, %(tool_tokens_per_month)s,
                %(embedding_tokens_per_day)s, %(embedding_tokens_per_month)s, clock_timestamp())
            """,
            {"principal_id": principal_id, **draft.model_dump()},
        )

    async def lock(self) -> None:
        """Until the transaction ends nobody else changes a quota of this tenant, so that the last change has the last time."""
        await self._connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('devops_mcp.quotas ' || current_tenant()::text, 0))"
        )

    async def used(self, principal_id: UUID, now: datetime) -> Mapping[QuotaName, int]:
        """What was used in the day and the month of `now`, by one principal or with `TENANT` by all."""
        async with self._connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(
                """
                SELECT tool_calls_per_day, tool_calls_per_month, tool_tokens_per_day, tool_tokens_per_month, embedding_tokens_per_day,
                    embedding_tokens_per_month
                FROM (SELECT coalesce(sum(calls) FILTER (WHERE day >= %(day)s), 0)::bigint AS tool_calls_per_day,
                        coalesce(sum(calls), 0)::bigint AS tool_calls_per_month,
                        coalesce(sum(tokens) FILTER (WHERE day >= %(day)s), 0)::bigint AS tool_tokens_per_day,
                        coalesce(sum(tokens), 0)::bigint AS tool_tokens_per_month
                      FROM tool_usage WHERE day >= %(month)s AND (%(all)s OR principal_id = %(whose)s)) AS of_tools,
                    (SELECT coalesce(sum(tokens) FILTER (WHERE day >= %(day)s), 0)::bigint AS embedding_tokens_per_day,
                        coalesce(sum(tokens), 0)::bigint AS embedding_tokens_per_month
                      FROM embedding_usage WHERE day >= %(month)s AND (%(all)s OR principal_id = %(whose)s)) AS of_embeddings
                """,
                {
                    "day": QuotaName.TOOL_CALLS_PER_DAY.begins(now),
                    "month": QuotaName.TOOL_CALLS_PER_MONTH.begins(now),
                    "all": principal_id == TENANT,
                    "whose": principal_id,
                },
            )
            row = await cursor.fetchone()
        assert row is not None, "an aggregate has a row"
        return {QuotaName(name): int(used) for name, used in row.items()}


async def quota_versions(connection: AsyncConnection[TupleRow]) -> list[QuotaVersion]:
    """Of every tenant that has quotas."""
    async with connection.cursor(row_factory=class_row(QuotaVersion)) as cursor:
        await cursor.execute("SELECT tenant_id, version FROM quota_versions()")
        return await cursor.fetchall()
