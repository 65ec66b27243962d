"""The audit log: append-only for the services' roles."""

from collections.abc import Sequence

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from devops_mcp.models.audit import AuditRecord


class AuditLog:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def append(self, records: Sequence[AuditRecord]) -> None:
        """Add records of this transaction's tenant; those there already are left as they are."""
        async with self._connection.cursor() as cursor:
            await cursor.executemany(
                """
                INSERT INTO audit_log
                    (id, at, actor_id, actor, action, target, outcome, error_code, duration_ms, arguments, trace_id)
                VALUES (%(id)s, %(at)s, %(actor_id)s, %(actor)s, %(action)s, %(target)s, %(outcome)s, %(error_code)s,
                        %(duration_ms)s, %(arguments)s, %(trace_id)s)
                ON CONFLICT DO NOTHING
                """,
                [{**record.model_dump(), "arguments": Jsonb(record.arguments)} for record in records],
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
