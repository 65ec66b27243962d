"""The bare servers that ours are measured beside: `python -m benchmarks.bare PORT`, with BARE_DATABASE_URL for the route that inserts."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import uvicorn
from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

pool = AsyncConnectionPool(
    os.environ["BARE_DATABASE_URL"], min_size=4, max_size=10, open=False, kwargs={"autocommit": True}
)


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
        log_level="warning",
    )
