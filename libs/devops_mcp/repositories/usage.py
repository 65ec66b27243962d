"""What was used of the tools, by day."""

from collections.abc import Sequence
from datetime import datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from devops_mcp.models.usage import ToolsUsed, ToolUsage, ToolUsageReport, ToolUsageSums, ToolUsageWanted
from devops_mcp.repositories.rows import rows


class ToolUsages:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def add(self, used: Sequence[ToolsUsed]) -> None:
        """Add to what there is. In one order for all, so that nobody waits for who waits for them."""
        ordered = sorted(used, key=lambda one: (one.principal_id, one.tool, one.day))
        await self._connection.execute(
            """
            INSERT INTO tool_usage AS u (principal_id, tool, day, system, calls, errors, duration_ms, tokens)
            SELECT * FROM jsonb_to_recordset(%s::jsonb) AS r (principal_id uuid, tool text, day timestamptz, system text, calls bigint,
                errors bigint, duration_ms float8, tokens bigint)
            ON CONFLICT (tenant_id, principal_id, tool, day) DO UPDATE SET
                calls = u.calls + excluded.calls, errors = u.errors + excluded.errors,
                duration_ms = u.duration_ms + excluded.duration_ms, tokens = u.tokens + excluded.tokens
            """,
            (rows(ordered),),
        )

    async def report(self, wanted: ToolUsageWanted, since: datetime, until: datetime) -> ToolUsageReport:
        """What was used in the days from `since` to before `until`."""
        values = {**wanted.model_dump(), "by": wanted.by.split(","), "since": since, "until": until}
        async with self._connection.cursor(row_factory=class_row(ToolUsage)) as cursor:
            await cursor.execute(
                """
                SELECT CASE WHEN 'day' = ANY (%(by)s) THEN day END AS day,
                    CASE WHEN 'principal' = ANY (%(by)s) THEN principal_id END AS principal_id,
                    CASE WHEN 'system' = ANY (%(by)s) THEN system END AS system,
                    CASE WHEN 'tool' = ANY (%(by)s) THEN tool END AS tool,
                    sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(duration_ms) AS duration_ms,
                    sum(tokens)::bigint AS tokens
                FROM tool_usage
                WHERE day >= %(since)s AND day < %(until)s
                    AND (%(principal_id)s::uuid IS NULL OR principal_id = %(principal_id)s)
                    AND (%(system)s::text IS NULL OR system = %(system)s) AND (%(tool)s::text IS NULL OR tool = %(tool)s)
                GROUP BY 1, 2, 3, 4 ORDER BY 1 DESC, calls DESC, 2, 3, 4 LIMIT %(limit)s
                """,
                values,
            )
            items = await cursor.fetchall()
        async with self._connection.cursor(row_factory=class_row(ToolUsageSums)) as cursor:
            await cursor.execute(
                """
                SELECT coalesce(sum(calls), 0)::bigint AS calls, coalesce(sum(errors), 0)::bigint AS errors,
                    coalesce(sum(duration_ms), 0) AS duration_ms, coalesce(sum(tokens), 0)::bigint AS tokens
                FROM tool_usage
                WHERE day >= %(since)s AND day < %(until)s
                    AND (%(principal_id)s::uuid IS NULL OR principal_id = %(principal_id)s)
                    AND (%(system)s::text IS NULL OR system = %(system)s) AND (%(tool)s::text IS NULL OR tool = %(tool)s)
                """,
                values,
            )
            sums = await cursor.fetchone()
        assert sums is not None, "an aggregate has a row"
        return ToolUsageReport(items=tuple(items), **sums.model_dump())

    async def drop_older(self, before: datetime, limit: int) -> int:
        """Remove up to `limit` rows of days before; how many. Only the worker's role may."""
        cursor = await self._connection.execute(
            """
            DELETE FROM tool_usage WHERE (principal_id, tool, day) IN (
                SELECT principal_id, tool, day FROM tool_usage WHERE day < %s LIMIT %s)
            """,
            (before, limit),
        )
        return cursor.rowcount
