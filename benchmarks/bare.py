"""The bare servers that ours are measured beside: `python -m benchmarks.bare PORT`, told the rest by BARE_… (see `world`)."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

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

statements: dict[str, str] = orjson.loads(os.environ["BARE_STATEMENTS"])
"""What our own routes ask of the database."""
as_service = AsyncConnectionPool(
    os.environ["BARE_DATABASE_URL"],
    min_size=4,
    max_size=10,
    open=False,
    kwargs={"autocommit": True, "options": os.environ["BARE_SERVICE_OPTIONS"]},
)
"""Connections with the rights of our service, whose tenant is set once."""

_USUAL = {"kind": "note", "tokens": 12, "metadata": {}, "pinned": False}
_RECORD = {
    "actor_id": "01a20040-c76b-772f-9a63-e2eccadf0f0a",
    "actor": "nobody",
    "action": "contexts.append",
    "outcome": "ok",
    "duration_ms": 0.0,
}
_ALONE = {
    "owner": None,
    "count": 1,
    "tokens": 12,
    "pending": 12,
    "postings": "[]",
    "posts": False,
    "above": None,
    "patience": None,
}


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with pool, as_service:
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
    """The row."""
    async with as_service.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statements["read"], (request.path_params["id"],))
        return Response(orjson.dumps(await cursor.fetchone()), media_type="application/json")


async def list_contexts(request: Request) -> Response:
    """A page of rows."""
    asked = dict.fromkeys(("owner", "owner_id", "title", "metadata", "after_id", "after"))
    async with as_service.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        limit = int(request.query_params["limit"])
        await cursor.execute(statements["list"], {**asked, "limit": limit + 1})
        return Response(orjson.dumps({"items": await cursor.fetchall()}), media_type="application/json")


async def append_items(request: Request) -> Response:
    """One item; it is all that is answered."""
    [given] = orjson.loads(await request.body())["items"]
    context, item = request.path_params["id"], {"number": 1, "id": uuid7(), **_USUAL, "text": given["text"]}
    part = {"id": uuid7(), "item_id": item["id"], "number": 0, "text": given["text"]}
    values = {
        "context": context,
        "items": orjson.dumps([item]).decode(),
        "parts": orjson.dumps([part]).decode(),
        "uri": f"devops://contexts/{context}",
        "record": orjson.dumps(
            {"id": uuid7(), "at": datetime.now(UTC), "target": f"context:{context}", **_RECORD}
        ).decode(),
        **_ALONE,
    }
    async with as_service.connection() as connection:
        cursor = await connection.execute(statements["append"], values)
        [(before, now, _)] = await cursor.fetchall()
    answered = {**item, "context_id": context, "position": before + 1, "created_at": now}
    return Response(orjson.dumps({"items": [answered]}), 201, media_type="application/json")


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
