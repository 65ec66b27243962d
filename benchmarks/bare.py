"""The bare servers that ours are measured beside: `python -m benchmarks.bare PORT`, with BARE_DATABASE_URL for the route that inserts."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import uvicorn
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from uuid_utils.compat import uuid7

pool = AsyncConnectionPool(
    os.environ["BARE_DATABASE_URL"], min_size=4, max_size=10, open=False, kwargs={"autocommit": True}
)

_CONTEXT = """id, tenant_id, owner_id, title, metadata, item_count, token_count, pending_tokens, compacted_to, compaction_id, compact_above,
    expires_at, forked_from, forked_at, created_at, updated_at"""
_APPEND = """
    WITH counted AS (
        UPDATE contexts SET item_count = item_count + 1, updated_at = now() WHERE id = %s RETURNING tenant_id, id, item_count)
    INSERT INTO context_items (tenant_id, context_id, position, id, kind, text, tokens)
    SELECT tenant_id, id, item_count, %s, 'note', %s, 12 FROM counted
    RETURNING id, context_id, position, kind, role, text, tokens, metadata, pinned, created_at
"""


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with pool:
        async with pool.connection() as connection:
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS bare (id bigserial PRIMARY KEY, body bytea NOT NULL)"
            )
        yield


async def store(request: Request) -> Response:
    body = await request.body()
    async with pool.connection() as connection:
        await connection.execute("INSERT INTO bare (body) VALUES (%s)", (body,))
    return JSONResponse({"status": "accepted"}, 202)


async def read_context(request: Request) -> Response:
    """The row, as our repository reads it."""
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(f"SELECT {_CONTEXT} FROM contexts WHERE id = %s", (request.path_params["id"],))
        return Response(orjson.dumps(await cursor.fetchone()), media_type="application/json")


async def list_contexts(request: Request) -> Response:
    """A page of rows."""
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        limit = int(request.query_params["limit"])
        await cursor.execute(f"SELECT {_CONTEXT} FROM contexts ORDER BY id DESC LIMIT %s", (limit + 1,))
        return Response(orjson.dumps({"items": await cursor.fetchall()}), media_type="application/json")


async def append_items(request: Request) -> Response:
    """The count and the item in one statement; the item is all that is answered."""
    [item] = orjson.loads(await request.body())["items"]
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_APPEND, (request.path_params["id"], uuid7(), item["text"]))
        return Response(orjson.dumps({"items": await cursor.fetchall()}), 201, media_type="application/json")


async def answer(request: Request) -> Response:
    """Reads the body as JSON and answers JSON of as many bytes as its query says."""
    orjson.loads(await request.body())
    size = int(request.query_params["bytes"])
    return Response(orjson.dumps({"result": "x" * size}), media_type="application/json")


async def echo(websocket: WebSocket) -> None:
    """Reads each frame as JSON and answers JSON of as many bytes as its query says."""
    answer = "x" * int(websocket.query_params["bytes"])
    await websocket.accept()
    try:
        while True:
            orjson.loads(await websocket.receive_text())
            await websocket.send_text(orjson.dumps({"result": answer}).decode())
    except WebSocketDisconnect:
        pass


app = Starlette(
    routes=[
        Route("/store", store, methods=["POST"]),
        Route("/answer", answer, methods=["POST"]),
        Route("/contexts", list_contexts),
        Route("/contexts/{id:uuid}", read_context),
        Route("/contexts/{id:uuid}/items", append_items, methods=["POST"]),
        WebSocketRoute("/echo", echo),
        Route("/", lambda _: Response()),
    ],
    lifespan=lifespan,
)

if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        access_log=False,
        timeout_keep_alive=75,
        log_level="warning",
    )
