"""Endpoints of outgoing webhooks."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from devops_mcp.models.pages import Order
from devops_mcp.models.webhooks import (
    EndpointDraft,
    EndpointsWanted,
    EventFilter,
    SealedSecrets,
    WebhookEndpoint,
)
from devops_mcp.repositories.connection import Asked, Connection
from devops_mcp.repositories.sorting import Columns, behind, by, values_of

_COLUMNS = sql.SQL("""
    id, name, url, filter, enabled, disabled_reason, failures, failing_since, held_until, previous_until, created_at, updated_at
""")

_SORTED: Columns = {"created_at": "timestamptz", "updated_at": "timestamptz", "name": "text"}


class WebhookEndpoints:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, endpoint_id: UUID, draft: EndpointDraft, secret: bytes) -> WebhookEndpoint:
        added = await self._one(
            sql.SQL("""
            INSERT INTO webhook_endpoints (id, name, url, filter, enabled, secret)
            VALUES (%(id)s, %(name)s, %(url)s, %(filter)s, %(enabled)s, %(secret)s) RETURNING {columns}
            """).format(columns=_COLUMNS),
            {"id": endpoint_id, "secret": secret, **_values(draft)},
        )
        assert added is not None
        return added

    async def lock_all(self) -> None:
        """Let nobody else add one to the tenant until the transaction ends."""
        await self._connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('devops_mcp.webhook_endpoints ' || current_tenant(), 0))"
        )

    async def count(self) -> int:
        cursor = await self._connection.execute("SELECT count(*) FROM webhook_endpoints")
        row = await cursor.fetchone()
        return int(row[0]) if row else 0

    async def page(self, wanted: EndpointsWanted, order: Order, limit: int) -> list[WebhookEndpoint]:
        async with self._connection.cursor(row_factory=class_row(WebhookEndpoint)) as cursor:
            await cursor.execute(
                sql.SQL("""
                SELECT {columns} FROM webhook_endpoints
                WHERE {behind} AND (%(name)s::text IS NULL OR strpos(lower(name), lower(%(name)s)) > 0)
                    AND (%(enabled)s::boolean IS NULL OR enabled = %(enabled)s)
                    AND (%(failing)s::boolean IS NULL OR (failing_since IS NOT NULL) = %(failing)s)
                ORDER BY {order} LIMIT %(limit)s
                """).format(
                    columns=_COLUMNS,
                    behind=sql.SQL(behind(_SORTED, order)),
                    order=sql.SQL(by(_SORTED, order)),
                ),
                {"limit": limit, **wanted.model_dump(), **values_of(order)},
            )
            return await cursor.fetchall()

    async def find(self, endpoint_id: UUID, *, for_update: bool = False) -> WebhookEndpoint | None:
        """`for_update` keeps others from changing it until this transaction ends."""
        return await self._one(
            sql.SQL("SELECT {columns} FROM webhook_endpoints WHERE id = %(id)s {lock}").format(
                columns=_COLUMNS, lock=sql.SQL("FOR UPDATE" if for_update else "")
            ),
            {"id": endpoint_id},
        )

    def listening(self) -> Asked[list[tuple[UUID, EventFilter]]]:
        """The enabled endpoints that choose events themselves, and what they choose."""
        return self._connection.ask(
            "SELECT id, filter FROM webhook_endpoints WHERE enabled AND filter IS NOT NULL",
            (),
            lambda rows: [(row[0], EventFilter.model_validate(row[1])) for row in rows],
        )

    async def lock_enabled(self, endpoint_ids: Sequence[UUID]) -> set[UUID]:
        """Those of these that are enabled; none is deleted until this transaction ends."""
        cursor = await self._connection.execute(
            "SELECT id FROM webhook_endpoints WHERE id = ANY(%s) AND enabled ORDER BY id FOR KEY SHARE",
            (list(endpoint_ids),),
        )
        return {row[0] for row in await cursor.fetchall()}

    async def replace(self, endpoint_id: UUID, draft: EndpointDraft) -> WebhookEndpoint | None:
        """Say anew what its owner says of it; one that is enabled by this, or moved, is tried as if it had never failed."""
        return await self._one(
            sql.SQL("""
            UPDATE webhook_endpoints SET
                name = %(name)s, url = %(url)s, filter = %(filter)s, enabled = %(enabled)s, updated_at = now(),
                disabled_reason = CASE WHEN NOT %(enabled)s THEN coalesce(disabled_reason, 'disabled by its owner') END,
                failures = CASE WHEN enabled AND url = %(url)s THEN failures ELSE 0 END,
                failing_since = CASE WHEN enabled AND url = %(url)s THEN failing_since END,
                held_until = CASE WHEN enabled AND url = %(url)s THEN held_until END
            WHERE id = %(id)s RETURNING {columns}
            """).format(columns=_COLUMNS),
            {"id": endpoint_id, **_values(draft)},
        )

    async def lock(self, endpoint_id: UUID) -> None:
        """Until the transaction ends nobody else changes this endpoint."""
        await self._connection.execute(
            "SELECT FROM webhook_endpoints WHERE id = %s FOR UPDATE", (endpoint_id,)
        )

    async def delete(self, endpoint_id: UUID) -> bool:
        """Its deliveries stay until upkeep removes them."""
        cursor = await self._connection.execute("DELETE FROM webhook_endpoints WHERE id = %s", (endpoint_id,))
        return cursor.rowcount == 1

    async def secrets(self, endpoint_id: UUID, *, for_update: bool = False) -> SealedSecrets | None:
        """As they are kept; `for_update` keeps others from changing them until this transaction ends."""
        async with self._connection.cursor(row_factory=class_row(SealedSecrets)) as cursor:
            await cursor.execute(
                sql.SQL("""
                SELECT secret, secret_version, previous_secret, previous_until FROM webhook_endpoints WHERE id = %s {lock}
                """).format(lock=sql.SQL("FOR UPDATE" if for_update else "")),
                (endpoint_id,),
            )
            return await cursor.fetchone()

    async def put_secrets(self, endpoint_id: UUID, secrets: SealedSecrets) -> None:
        await self._connection.execute(
            """
            UPDATE webhook_endpoints SET secret = %(secret)s, secret_version = %(secret_version)s,
                previous_secret = %(previous_secret)s, previous_until = %(previous_until)s, updated_at = now()
            WHERE id = %(id)s
            """,
            {"id": endpoint_id, **secrets.model_dump()},
        )

    async def sealed_otherwise(self, key_id: bytes) -> list[UUID]:
        """Endpoints with a secret that was not sealed with this key."""
        cursor = await self._connection.execute(
            """
            SELECT id FROM webhook_endpoints
            WHERE substring(secret FOR length(%(key)s::bytea)) <> %(key)s
                OR substring(previous_secret FOR length(%(key)s::bytea)) <> %(key)s
            ORDER BY id
            """,
            {"key": key_id},
        )
        return [row[0] for row in await cursor.fetchall()]

    async def succeeded(self, endpoint_id: UUID) -> None:
        """Something got through: the endpoint is well."""
        await self._connection.execute(
            """
            UPDATE webhook_endpoints SET failures = 0, failing_since = NULL, held_until = NULL
            WHERE id = %s AND (failures > 0 OR held_until IS NOT NULL)
            """,
            (endpoint_id,),
        )

    async def failed(self, endpoint_id: UUID, at: datetime) -> tuple[int, datetime]:
        """Count a failure; how many there were without a success between, and since when."""
        cursor = await self._connection.execute(
            """
            UPDATE webhook_endpoints SET failures = failures + 1, failing_since = coalesce(failing_since, %s) WHERE id = %s
            RETURNING failures, failing_since
            """,
            (at, endpoint_id),
        )
        row = await cursor.fetchone()
        return (row[0], row[1]) if row else (1, at)

    async def hold(self, endpoint_id: UUID, until: datetime) -> None:
        """Try nothing before then."""
        await self._connection.execute(
            "UPDATE webhook_endpoints SET held_until = greatest(held_until, %s) WHERE id = %s",
            (until, endpoint_id),
        )

    async def disable(self, endpoint_id: UUID, reason: str) -> bool:
        """Whether it was enabled until now."""
        cursor = await self._connection.execute(
            """
            UPDATE webhook_endpoints SET enabled = false, disabled_reason = %s, held_until = NULL, updated_at = now()
            WHERE id = %s AND enabled
            """,
            (reason, endpoint_id),
        )
        return cursor.rowcount == 1

    async def _one(self, query: sql.Composed, values: Mapping[str, object]) -> WebhookEndpoint | None:
        async with self._connection.cursor(row_factory=class_row(WebhookEndpoint)) as cursor:
            await cursor.execute(query, values)
            return await cursor.fetchone()


def _values(draft: EndpointDraft) -> dict[str, object]:
    filter_ = draft.filter
    return {
        "name": draft.name,
        "url": draft.url,
        "filter": None if filter_ is None else Jsonb(filter_.model_dump(mode="json")),
        "enabled": draft.enabled,
    }
