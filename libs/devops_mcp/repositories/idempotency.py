"""Calls that their caller marked with a key: done once, answered alike."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from devops_mcp.models.base import JsonObject


@dataclass(frozen=True, slots=True)
class CallKey:
    """What makes a call the same call."""

    principal_id: UUID
    operation: str
    key: str


@dataclass(frozen=True, slots=True)
class MarkedCall:
    """`digest` is of the arguments; `answer` is None while the call is under way, and after it broke off."""

    digest: bytes
    lease_until: datetime
    answer: JsonObject | None


class IdempotentCalls:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def take_turn(self, key: CallKey) -> bool:
        """Keep others off the key until this transaction ends, however it does; False while another's transaction has it."""
        cursor = await self._connection.execute(
            """
            SELECT pg_try_advisory_xact_lock(hashtextextended(
                concat_ws(' ', 'devops_mcp.idempotency', current_tenant(), %s::uuid, %s::text, %s::text), 0))
            """,
            (key.principal_id, key.operation, key.key),
        )
        row = await cursor.fetchone()
        return bool(row and row[0])

    async def begin(
        self, key: CallKey, digest: bytes, now: datetime, lease_until: datetime
    ) -> MarkedCall | None:
        """Claim the key; None when the call is now the caller's to do, else what is there.

        A call whose lease ran out without an answer, and that has the same arguments, is taken over.
        """
        cursor = await self._connection.execute(
            """
            INSERT INTO idempotent_calls AS c (principal_id, operation, key, digest, lease_until) VALUES (%s, %s, %s, %s, %s)
            ON CONFLICT (tenant_id, principal_id, operation, key) DO UPDATE SET lease_until = excluded.lease_until
                WHERE c.answer IS NULL AND c.lease_until <= %s AND c.digest = excluded.digest
            """,
            (key.principal_id, key.operation, key.key, digest, lease_until, now),
        )
        return None if cursor.rowcount == 1 else await self.find(key)

    async def finish(self, key: CallKey, answer: JsonObject, digest: bytes | None = None) -> None:
        """Keep the answer; `digest` takes the place of the one claimed with, where not all was known then."""
        await self._connection.execute(
            """
            UPDATE idempotent_calls SET answer = %s, digest = coalesce(%s, digest)
            WHERE principal_id = %s AND operation = %s AND key = %s
            """,
            (Jsonb(answer), digest, key.principal_id, key.operation, key.key),
        )

    async def add(self, key: CallKey, digest: bytes, answer: JsonObject) -> None:
        """Keep the answer of a call that this transaction did; whoever has the turn may."""
        await self._connection.execute(
            """
            INSERT INTO idempotent_calls (principal_id, operation, key, digest, lease_until, answer) VALUES (%s, %s, %s, %s, now(), %s)
            """,
            (key.principal_id, key.operation, key.key, digest, Jsonb(answer)),
        )

    async def forget(self, key: CallKey) -> None:
        """Free the key: the call failed before it did anything."""
        await self._connection.execute(
            "DELETE FROM idempotent_calls WHERE principal_id = %s AND operation = %s AND key = %s AND answer IS NULL",
            (key.principal_id, key.operation, key.key),
        )

    async def break_off(self, key: CallKey, lease_until: datetime) -> None:
        """The call ended without an answer: its lease ends by then."""
        await self._connection.execute(
            """
            UPDATE idempotent_calls SET lease_until = least(lease_until, %s)
            WHERE principal_id = %s AND operation = %s AND key = %s AND answer IS NULL
            """,
            (lease_until, key.principal_id, key.operation, key.key),
        )

    async def find(self, key: CallKey) -> MarkedCall | None:
        """What is known of the key."""
        async with self._connection.cursor(row_factory=class_row(MarkedCall)) as cursor:
            await cursor.execute(
                "SELECT digest, lease_until, answer FROM idempotent_calls WHERE principal_id = %s AND operation = %s AND key = %s",
                (key.principal_id, key.operation, key.key),
            )
            return await cursor.fetchone()

    async def drop_older(self, before: datetime, limit: int) -> int:
        """Forget up to `limit` calls that began before; their keys are free again. How many."""
        cursor = await self._connection.execute(
            """
            DELETE FROM idempotent_calls WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM idempotent_calls WHERE created_at < %s AND lease_until < now() LIMIT %s))
            """,
            (before, limit),
        )
        return cursor.rowcount
