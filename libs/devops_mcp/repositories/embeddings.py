"""What embedding leaves behind: choices of models, vectors that were paid for, and what they cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from devops_mcp.models.embeddings import TENANT, Usage, UsageReport


@dataclass(frozen=True, slots=True)
class StoredChoice:
    """A row of `embedding_choices`; `owner_id` may be `TENANT`."""

    owner_id: UUID
    model: str | None
    space: str
    settled: UUID
    reached: UUID
    asked_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Spent:
    """What is added to a day's usage; `cost` in US dollars."""

    principal_id: UUID | None
    model: str
    texts: int
    cached: int
    tokens: int
    cost: float


class Embeddings:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def choices(self, *, lock_unfinished: bool = False) -> list[StoredChoice]:
        """The tenant's choices. With `lock_unfinished` those under way, locked, and without those that another transaction works on."""
        async with self._connection.cursor(row_factory=class_row(StoredChoice)) as cursor:
            if lock_unfinished:
                await cursor.execute(
                    """
                    SELECT owner_id, model, space, settled, reached, asked_at, finished_at FROM embedding_choices
                    WHERE finished_at IS NULL ORDER BY owner_id FOR UPDATE SKIP LOCKED
                    """
                )
            else:
                await cursor.execute(
                    """
                    SELECT owner_id, model, space, settled, reached, asked_at, finished_at FROM embedding_choices
                    ORDER BY owner_id
                    """
                )
            return await cursor.fetchall()

    async def choose(self, owner_id: UUID, model: str | None, space: str) -> None:
        """Let the owner's passages be brought into `space`, from the first on, unless they are or are being already."""
        await self._connection.execute(
            """
            INSERT INTO embedding_choices AS c (owner_id, model, space) VALUES (%(owner)s, %(model)s, %(space)s)
            ON CONFLICT (tenant_id, owner_id) DO UPDATE SET
                model = excluded.model, space = excluded.space,
                settled = CASE WHEN c.space = excluded.space THEN c.settled ELSE %(nil)s END,
                reached = CASE WHEN c.space = excluded.space THEN c.reached ELSE %(nil)s END,
                asked_at = CASE WHEN c.space = excluded.space THEN c.asked_at END,
                finished_at = CASE WHEN c.space = excluded.space THEN c.finished_at END
            """,
            {"owner": owner_id, "model": model, "space": space, "nil": UUID(int=0)},
        )

    async def advance(self, owner_id: UUID, settled: UUID, reached: UUID, asked_at: datetime) -> None:
        """Note that vectors were asked for, up to `reached`."""
        await self._connection.execute(
            "UPDATE embedding_choices SET settled = %s, reached = %s, asked_at = %s WHERE owner_id = %s",
            (settled, reached, asked_at, owner_id),
        )

    async def begin_again(self, before: datetime) -> None:
        """Let what was finished before that time be gone through from the first passage on."""
        await self._connection.execute(
            """
            UPDATE embedding_choices SET settled = %(nil)s, reached = %(nil)s, asked_at = NULL, finished_at = NULL
            WHERE finished_at < %(before)s
            """,
            {"nil": UUID(int=0), "before": before},
        )

    async def finish(self, owner_id: UUID, at: datetime) -> None:
        await self._connection.execute(
            "UPDATE embedding_choices SET finished_at = %s WHERE owner_id = %s", (at, owner_id)
        )

    async def cached(self, space: str, digests: Sequence[bytes]) -> dict[bytes, list[float]]:
        """The vectors that this tenant has paid for."""
        cursor = await self._connection.execute(
            "SELECT digest, embedding::text FROM embedding_cache WHERE space = %s AND digest = ANY(%s)",
            (space, list(digests)),
        )
        return {bytes(digest): orjson.loads(text) for digest, text in await cursor.fetchall()}

    async def remember(self, space: str, vectors: Mapping[bytes, Sequence[float]]) -> None:
        """Keep vectors for whoever of the tenant asks for the same."""
        await self._connection.execute(
            """
            INSERT INTO embedding_cache (space, digest, embedding)
            SELECT %s, digest, embedding::vector FROM unnest(%s::bytea[], %s::text[]) AS v (digest, embedding)
            ON CONFLICT DO NOTHING
            """,
            (space, list(vectors), [orjson.dumps(list(values)).decode() for values in vectors.values()]),
        )

    async def forget(self, before: datetime, limit: int) -> int:
        """Remove up to `limit` cached vectors that are older; how many were."""
        cursor = await self._connection.execute(
            """
            DELETE FROM embedding_cache WHERE (space, digest) IN (
                SELECT space, digest FROM embedding_cache WHERE created_at < %s LIMIT %s)
            """,
            (before, limit),
        )
        return cursor.rowcount

    async def spend(self, spent: Spent, at: datetime) -> None:
        """Add to the usage of the day."""
        await self._connection.execute(
            """
            INSERT INTO embedding_usage AS u (principal_id, model, day, texts, cached, tokens, cost)
            VALUES (%s, %s, date_trunc('day', %s), %s, %s, %s, %s)
            ON CONFLICT (tenant_id, principal_id, model, day) DO UPDATE SET
                texts = u.texts + excluded.texts, cached = u.cached + excluded.cached, tokens = u.tokens + excluded.tokens,
                cost = u.cost + excluded.cost
            """,
            (
                spent.principal_id or TENANT,
                spent.model,
                at,
                spent.texts,
                spent.cached,
                spent.tokens,
                spent.cost,
            ),
        )

    async def usage(
        self, principal_id: UUID | None, since: datetime, until: datetime, limit: int
    ) -> UsageReport:
        """What was used in the days from `since` to before `until`, by one principal or with None by all."""
        wanted = {"principal": principal_id, "since": since, "until": until, "limit": limit, "nil": TENANT}
        async with self._connection.cursor(row_factory=class_row(Usage)) as cursor:
            await cursor.execute(
                """
                SELECT nullif(principal_id, %(nil)s) AS principal_id, model, day, texts, cached, tokens, cost::float8 AS cost_usd
                FROM embedding_usage
                WHERE (%(principal)s::uuid IS NULL OR principal_id = %(principal)s) AND day >= %(since)s AND day < %(until)s
                ORDER BY day DESC, principal_id, model LIMIT %(limit)s
                """,
                wanted,
            )
            items = await cursor.fetchall()
        sums = await self._connection.execute(
            """
            SELECT coalesce(sum(texts), 0)::bigint, coalesce(sum(cached), 0)::bigint, coalesce(sum(tokens), 0)::bigint,
                   coalesce(sum(cost), 0)::float8
            FROM embedding_usage
            WHERE (%(principal)s::uuid IS NULL OR principal_id = %(principal)s) AND day >= %(since)s AND day < %(until)s
            """,
            wanted,
        )
        row = await sums.fetchone()
        assert row is not None
        return UsageReport(items=tuple(items), texts=row[0], cached=row[1], tokens=row[2], cost_usd=row[3])
