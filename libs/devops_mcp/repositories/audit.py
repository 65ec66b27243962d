"""The audit log: append-only for the services' roles, and chained by the database."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from devops_mcp.models.audit import AuditEntry, AuditFilter, AuditRecord, ChainEnd, CheckedEntries
from devops_mcp.models.pages import Order
from devops_mcp.repositories.rows import rows
from devops_mcp.repositories.sorting import BY_AGE, behind, by, values_of
from devops_mcp.repositories.statements import composed


class AuditLog:
    """What is appended is written when the transaction commits: the end of the tenant's chain is locked last, and so never for long."""

    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection
        self._appended: list[AuditRecord] = []

    async def append(self, records: Sequence[AuditRecord]) -> None:
        """Add records of this transaction's tenant; those there already are left as they are."""
        self._appended += records

    async def flush(self) -> None:
        """Write what was appended. Whoever opened the transaction does, before it commits."""
        if self._appended:
            records, self._appended = self._appended, []
            await self._connection.execute("SELECT append_audit(%s::jsonb)", (rows(records),))

    async def chain_waiting(self, limit: int) -> int:
        """Chain up to so many records that were written without waiting for the chain's end; how many there were."""
        cursor = await self._connection.execute("SELECT chain_waiting_audit(%s)", (limit,))
        row = await cursor.fetchone()
        assert row is not None
        return int(row[0])

    async def known(self, ids: Sequence[UUID]) -> set[UUID]:
        """Those of the records that are there already."""
        cursor = await self._connection.execute("SELECT id FROM audit_log WHERE id = ANY(%s)", (list(ids),))
        return {row[0] for row in await cursor.fetchall()}

    async def latest(self, limit: int) -> list[AuditRecord]:
        """The newest records first."""
        async with self._connection.cursor(row_factory=class_row(AuditRecord)) as cursor:
            await cursor.execute(
                """
                SELECT id, tenant_id, at, actor_id, actor, action, target, outcome, error_code, duration_ms, arguments, trace_id, address,
                    user_id
                FROM audit_log ORDER BY id DESC LIMIT %s
                """,
                (limit,),
            )
            return await cursor.fetchall()

    async def page(self, wanted: AuditFilter, order: Order, limit: int) -> list[AuditEntry]:
        async with self._connection.cursor(row_factory=class_row(AuditEntry)) as cursor:
            await cursor.execute(
                composed(
                    """
                SELECT id, at, actor_id, actor, user_id, address, action, target, outcome, error_code, duration_ms, arguments, trace_id,
                    seq, encode(prev_hash, 'hex') AS prev_hash, encode(hash, 'hex') AS hash
                FROM audit_log
                WHERE {behind}
                    AND (%(actor_id)s::uuid IS NULL OR %(actor_id)s IN (actor_id, user_id))
                    AND (%(action)s::text IS NULL OR action = %(action)s)
                    AND (%(action_prefix)s::text IS NULL OR starts_with(action, %(action_prefix)s))
                    AND (%(target)s::text IS NULL OR target = %(target)s)
                    AND (%(outcome)s::text IS NULL OR outcome = %(outcome)s)
                    AND (%(trace_id)s::text IS NULL OR trace_id = %(trace_id)s)
                    AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
                    AND (%(until)s::timestamptz IS NULL OR at < %(until)s)
                ORDER BY {order} LIMIT %(limit)s
                """,
                    behind=behind(BY_AGE, order),
                    order=by(BY_AGE, order),
                ),
                {**wanted.terms(), **values_of(order), "limit": limit},
            )
            return await cursor.fetchall()

    async def find(self, record_id: UUID) -> AuditEntry | None:
        async with self._connection.cursor(row_factory=class_row(AuditEntry)) as cursor:
            await cursor.execute(
                """
                SELECT id, at, actor_id, actor, user_id, address, action, target, outcome, error_code, duration_ms, arguments, trace_id,
                    seq, encode(prev_hash, 'hex') AS prev_hash, encode(hash, 'hex') AS hash
                FROM audit_log WHERE id = %s
                """,
                (record_id,),
            )
            return await cursor.fetchone()

    async def chain_end(self) -> ChainEnd:
        """Where the tenant's chain ends now; before its first record, at 0."""
        async with self._connection.cursor(row_factory=class_row(ChainEnd)) as cursor:
            await cursor.execute("SELECT seq, encode(hash, 'hex') AS hash FROM audit_chains")
            return await cursor.fetchone() or ChainEnd(seq=0, hash="")

    async def chain_start(self) -> ChainEnd:
        """After which record the tenant's chain begins: the last that was dropped for its age, or 0."""
        async with self._connection.cursor(row_factory=class_row(ChainEnd)) as cursor:
            await cursor.execute(
                "SELECT dropped_seq AS seq, encode(dropped_hash, 'hex') AS hash FROM audit_chains"
            )
            return await cursor.fetchone() or ChainEnd(seq=0, hash="")

    async def begin_after(self, bound: datetime) -> None:
        """Let the chain begin behind the records of before `bound`, which are about to be dropped. Only the worker's role may."""
        await self._connection.execute("SELECT begin_audit_after(%s)", (bound,))

    async def check(self, after: ChainEnd, limit: int) -> CheckedEntries:
        """Compare the digests of the records that follow `after`, in order, with what is in them."""
        async with self._connection.cursor(row_factory=class_row(CheckedEntries)) as cursor:
            await cursor.execute(
                """
                WITH page AS (
                    SELECT a.seq, a.id, a.hash, a.prev_hash, audit_digest(a) AS digest FROM audit_log AS a
                    WHERE a.seq > %(after)s ORDER BY a.seq LIMIT %(limit)s
                ), checked AS (
                    SELECT seq, id, hash, hash IS NOT DISTINCT FROM digest AS whole,
                        seq = lag(seq, 1, %(after)s) OVER (ORDER BY seq) + 1
                        AND prev_hash = lag(hash, 1, decode(%(hash)s, 'hex')) OVER (ORDER BY seq) AS linked
                    FROM page
                )
                SELECT count(*) AS count, max(seq) AS seq, encode((array_agg(hash ORDER BY seq DESC))[1], 'hex') AS hash,
                    min(seq) FILTER (WHERE NOT whole) AS changed_at, min(seq) FILTER (WHERE NOT linked) AS broken_at
                FROM checked
                """,
                {"after": after.seq, "hash": after.hash, "limit": limit},
            )
            found = await cursor.fetchone()
            assert found is not None, "an aggregate has a row"
            return found

    async def at(self, seq: int) -> ChainEnd | None:
        """The record of this number, as far as the next one needs it."""
        async with self._connection.cursor(row_factory=class_row(ChainEnd)) as cursor:
            await cursor.execute(
                "SELECT seq, encode(hash, 'hex') AS hash FROM audit_log WHERE seq = %s", (seq,)
            )
            return await cursor.fetchone()
