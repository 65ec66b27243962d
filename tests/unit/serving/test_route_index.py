"""Routes by how they begin."""

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from devops_mcp.serving.route_index import IndexedRouter

PATHS = (
    *(
        "/",
        "/a",
        "/a/b",
        "/a/{x}",
        "/a/{x}/c",
        "/a/b/c/d/{y}",
        "/{x}/z",
        "/files/{rest:path}",
        "/a/{n:int}/i",
    ),
)


def named(path: str):
    async def show(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{path} {sorted(request.path_params.items())}")

    return Route(path, show, methods=["GET"])


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize(
    "path",
    [
        *(
            "/",
            "/a",
            "/a/b",
            "/a/x",
            "/a/x/c",
            "/a/b/c/d/e",
            "/q/z",
            "/files/x/y/z",
            "/a/5/i",
            "/a/b/i",
            "/sub/x",
        ),
        *("/a//c", "", "/a/", "/nothing", "/a/b/c", "/a/b/c/d/e/f", "/files", "//a"),
    ],
)
async def test_a_path_is_answered_as_by_starlettes_own_router(method, path):
    routes = [*map(named, PATHS), Mount("/sub", routes=[named("/x")])]
    answers = []
    for indexed in (False, True):
        app = Starlette(routes=routes)
        app.router.redirect_slashes = False
        if indexed:
            app.router = IndexedRouter(routes)
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            answer = await http.request(method, path)
            answers.append((answer.status_code, answer.text, answer.headers.get("allow")))
    assert answers[0] == answers[1]
