"""Rules, as their tenant says them."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from devops_mcp.models.pages import Order
from devops_mcp.models.rules import Rule, RuleDraft, RulesWanted
from devops_mcp.repositories.sorting import Columns, behind, by, values_of

_COLUMNS = sql.SQL(
    'id, version, owner_id, name, match, action, "limit", enabled, disabled_reason, created_at, updated_at'
)

_SORTED: Columns = {"created_at": "timestamptz", "updated_at": "timestamptz", "name": "text"}


class Rules:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def add(self, rule_id: UUID, owner_id: UUID, draft: RuleDraft) -> Rule:
        added = await self._one(
            sql.SQL("""
            INSERT INTO rules (id, owner_id, name, match, action, "limit", enabled)
            VALUES (%(id)s, %(owner_id)s, %(name)s, %(match)s, %(action)s, %(limit)s, %(enabled)s) RETURNING {columns}
            """).format(columns=_COLUMNS),
            {"id": rule_id, "owner_id": owner_id, **_values(draft)},
        )
        assert added is not None
        return added

    async def lock_all(self) -> None:
        """Let nobody else add one to the tenant until the transaction ends."""
        await self._connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('devops_mcp.rules ' || current_tenant(), 0))"
        )

    async def count(self) -> int:
        cursor = await self._connection.execute("SELECT count(*) FROM rules")
        row = await cursor.fetchone()
        return int(row[0]) if row else 0

    async def page(self, wanted: RulesWanted, order: Order, limit: int) -> list[Rule]:
        return await self._all(
            sql.SQL("""
            SELECT {columns} FROM rules
            WHERE {behind} AND (%(name)s::text IS NULL OR strpos(lower(name), lower(%(name)s)) > 0)
                AND (%(enabled)s::boolean IS NULL OR enabled = %(enabled)s)
                AND (%(owner_id)s::uuid IS NULL OR owner_id = %(owner_id)s)
                AND (%(action)s::text IS NULL OR action ->> 'kind' = %(action)s)
            ORDER BY {order} LIMIT %(limit)s
            """).format(
                columns=_COLUMNS, behind=sql.SQL(behind(_SORTED, order)), order=sql.SQL(by(_SORTED, order))
            ),
            {"limit": limit, **wanted.model_dump(), **values_of(order)},
        )

    async def find(self, rule_id: UUID) -> Rule | None:
        return await self._one(
            sql.SQL("SELECT {columns} FROM rules WHERE id = %(id)s").format(columns=_COLUMNS), {"id": rule_id}
        )

    async def lock(self, rule_id: UUID) -> Rule | None:
        """The rule, which nobody else changes until this transaction ends."""
        return await self._one(
            sql.SQL("SELECT {columns} FROM rules WHERE id = %(id)s FOR UPDATE").format(columns=_COLUMNS),
            {"id": rule_id},
        )

    async def enabled(self) -> list[Rule]:
        """Those that are enabled, oldest first."""
        return await self._all(
            sql.SQL("SELECT {columns} FROM rules WHERE enabled ORDER BY id").format(columns=_COLUMNS), {}
        )

    async def lock_enabled(self, rule_ids: Sequence[UUID]) -> list[Rule]:
        """Those of these that are still enabled, oldest first; nobody changes or starts them until this transaction ends."""
        return await self._all(
            sql.SQL(
                "SELECT {columns} FROM rules WHERE id = ANY(%(ids)s) AND enabled ORDER BY id FOR UPDATE"
            ).format(columns=_COLUMNS),
            {"ids": list(rule_ids)},
        )

    async def replace(self, rule_id: UUID, owner_id: UUID, draft: RuleDraft) -> Rule | None:
        """Say it anew, by whoever owns it from now on."""
        return await self._one(
            sql.SQL("""
            UPDATE rules SET version = version + 1, owner_id = %(owner_id)s, name = %(name)s, match = %(match)s,
                action = %(action)s, "limit" = %(limit)s, enabled = %(enabled)s, updated_at = now(),
                disabled_reason = CASE WHEN NOT %(enabled)s THEN coalesce(disabled_reason, 'disabled by its owner') END
            WHERE id = %(id)s RETURNING {columns}
            """).format(columns=_COLUMNS),
            {"id": rule_id, "owner_id": owner_id, **_values(draft)},
        )

    async def enable(self, rule_id: UUID, owner_id: UUID) -> Rule | None:
        """By whoever owns it from now on; what it says stays."""
        return await self._one(
            sql.SQL("""
            UPDATE rules SET enabled = true, disabled_reason = NULL, owner_id = %(owner_id)s, updated_at = now()
            WHERE id = %(id)s RETURNING {columns}
            """).format(columns=_COLUMNS),
            {"id": rule_id, "owner_id": owner_id},
        )

    async def disable(self, rule_id: UUID, reason: str) -> Rule | None:
        """None when there is no such rule."""
        return await self._one(
            sql.SQL("""
            UPDATE rules SET enabled = false, disabled_reason = %(reason)s, updated_at = now()
            WHERE id = %(id)s RETURNING {columns}
            """).format(columns=_COLUMNS),
            {"id": rule_id, "reason": reason},
        )

    async def delete(self, rule_id: UUID) -> bool:
        """Its runs stay until upkeep removes them."""
        cursor = await self._connection.execute("DELETE FROM rules WHERE id = %s", (rule_id,))
        return cursor.rowcount == 1

    async def _one(self, query: sql.Composed, values: Mapping[str, object]) -> Rule | None:
        async with self._connection.cursor(row_factory=class_row(Rule)) as cursor:
            await cursor.execute(query, values)
            return await cursor.fetchone()

    async def _all(self, query: sql.Composed, values: Mapping[str, object]) -> list[Rule]:
        async with self._connection.cursor(row_factory=class_row(Rule)) as cursor:
            await cursor.execute(query, values)
            return await cursor.fetchall()


def _values(draft: RuleDraft) -> dict[str, object]:
    values = draft.model_dump(mode="json")
    return {
        "name": draft.name,
        "enabled": draft.enabled,
        **{name: Jsonb(values[name]) for name in ("match", "action", "limit")},
    }
