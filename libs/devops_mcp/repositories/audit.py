"""The audit log: append-only for the services' roles."""

from collections.abc import Sequence

import orjson
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from devops_mcp.models.audit import AuditRecord


class AuditLog:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def append(self, records: Sequence[AuditRecord]) -> None:
        """Add records of this transaction's tenant; those there already are left as they are."""
        await self._connection.execute(
            """
            INSERT INTO audit_log
                (id, at, actor_id, actor, action, target, outcome, error_code, duration_ms, arguments, trace_id)
            SELECT id, at, actor_id, actor, action, target, outcome, error_code, duration_ms, arguments, trace_id
            FROM jsonb_to_recordset(%s::jsonb) AS given(
                id uuid, at timestamptz, actor_id uuid, actor text, action text, target text, outcome text, error_code text,
                duration_ms double precision, arguments jsonb, trace_id text)
            ON CONFLICT DO NOTHING
            """,
            (orjson.dumps(records).decode(),),
        )

    async def latest(self, limit: int) -> list[AuditRecord]:
        """The newest records first."""
        async with self._connection.cursor(row_factory=class_row(AuditRecord)) as cursor:
            await cursor.execute(
                """
                SELECT id, tenant_id, at, actor_id, actor, action, target, outcome, error_code, duration_ms, arguments, trace_id
                FROM audit_log ORDER BY id DESC LIMIT %s
                """,
                (limit,),
            )
            return await cursor.fetchall()
