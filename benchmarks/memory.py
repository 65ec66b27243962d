"""A context's window, over HTTP and as the SQL behind it."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from uuid import UUID

import psycopg

from benchmarks.measure import Row, alternate, latency, timed_calls
from benchmarks.world import World, connected
from devops_mcp.embedding.local import SPACE, Model, default_folder
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.passages import QueryVector, SearchFilter

Operation = Callable[[int], Awaitable[None]]
ITEMS = 10_000
ROUNDS = 3
QUERIES = (
    "which certificate of the gateway had expired?",
    "what does the gateway say of its certificate?",
    "when has the certificate expired?",
    "who looked after the gateway?",
    "why was the expired one not replaced?",
)


async def window(world: World) -> list[Row]:
    """One window at a time of 4,000 tokens, for questions and without any, beside its main queries with the vectors given."""
    url = world.suite.addresses["postgres"]
    context_id = str(new_id())
    await _fill(url, context_id)
    vectors = await asyncio.to_thread(lambda: Model(default_folder()).vectors(QUERIES))
    path = f"/api/v1/contexts/{context_id}/window?max_tokens=4000"
    plain = _get(path, world.suite.headers)
    asked = [_get(f"{path}&query={query.replace(' ', '+')}", world.suite.headers) for query in QUERIES]
    async with (
        connected(world.suite.addresses["rest"]) as connection,
        open_database(url, pool_size=2, application="bench") as database,
    ):

        async def over_http(number: int) -> None:
            assert await connection.send(asked[number % len(asked)]) == 200

        async def plain_over_http(number: int) -> None:
            assert await connection.send(plain) == 200

        async def as_sql(number: int) -> None:
            which = number % len(QUERIES)
            await _found(database, context_id, QUERIES[which], QueryVector(SPACE, vectors[which]))
            await _latest(database, context_id)

        async def plain_as_sql(number: int) -> None:
            await _latest(database, context_id)

        rows = []
        for name, ours, bare in (
            ("window for a question", over_http, as_sql),
            ("window", plain_over_http, plain_as_sql),
        ):
            rows.append(await _beside(f"{name}, context of {ITEMS:,} items", ours, bare))
    return rows


async def _beside(name: str, ours: Operation, bare: Operation) -> Row:
    await ours(0), await bare(0)  # warm
    first, second = await alternate(lambda: timed_calls(100, ours), lambda: timed_calls(100, bare), ROUNDS)
    return latency(name, first, second)


async def _found(database: Database, context_id: str, query: str, vector: QueryVector) -> None:
    wanted = SearchFilter(new_id(), any_owner=True, context_id=UUID(context_id))
    async with database.transaction(DEFAULT_TENANT_ID) as tx:
        assert await tx.passages.search(query, [vector], wanted, 40)


async def _latest(database: Database, context_id: str) -> None:
    async with database.transaction(DEFAULT_TENANT_ID) as tx:
        assert await tx.contexts.items(UUID(context_id), ITEMS - 250, 250)


def _get(path: str, headers: dict[str, str]) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def _fill(url: str, context_id: str) -> None:
    """Findings with random unit vectors. Of three speak one of the gateway, of nine one of a certificate, of thirty one of what expired."""
    chance = random.Random(11)
    words = ["gateway", "certificate", "expired", *(f"word{number}" for number in range(400))]
    weights = [15.0, 4.0, 1.2, *(1.0 for _ in range(400))]
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute("SELECT set_config('app.tenant', %s, true)", (str(DEFAULT_TENANT_ID),))
        await connection.execute(
            "INSERT INTO contexts (id, owner_id, title, item_count, token_count)"
            " SELECT %s, id, 'bench', %s, %s FROM api_keys LIMIT 1",
            (context_id, ITEMS, ITEMS * 15),
        )
        for start in range(1, ITEMS + 1, 500):
            items = [
                (position, str(new_id()), " ".join(chance.choices(words, weights, k=12)) + f" {position}")
                for position in range(start, min(start + 500, ITEMS + 1))
            ]
            await _insert(connection, context_id, items, chance)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("ANALYZE context_items, passages")


async def _insert(
    connection: psycopg.AsyncConnection,
    context_id: str,
    items: list[tuple[int, str, str]],
    chance: random.Random,
) -> None:
    cursor = connection.cursor()
    await cursor.executemany(
        "INSERT INTO context_items (context_id, position, id, kind, text, tokens) VALUES (%s, %s, %s, 'note', %s, 15)",
        [(context_id, position, id_, text) for position, id_, text in items],
    )
    await cursor.executemany(
        """
        INSERT INTO passages (id, kind, source_id, part, context_id, title, text, uri, occurred_at, metadata, space, embedding)
        VALUES (%s, 'context_item', %s, 0, %s, 'bench', %s, 'devops://contexts/x', now(), jsonb_build_object('position', %s::int), %s,
                %s::halfvec)
        """,
        [
            (str(new_id()), id_, context_id, text, position, SPACE, _vector(chance))
            for position, id_, text in items
        ],
    )


def _vector(chance: random.Random) -> str:
    values = [chance.gauss(0, 1) for _ in range(384)]
    length = sum(value * value for value in values) ** 0.5
    return "[" + ",".join(f"{value / length:.5f}" for value in values) + "]"
