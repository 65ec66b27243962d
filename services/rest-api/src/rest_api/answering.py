"""How an endpoint answers: who calls, what is asked, what the handler says to it, and in which form that goes out.

What every route has alike is here, so that a route declares and does not do it: signed cursors, `fields=`, `ETag` and `If-None-Match`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from devops_mcp.models.errors import Forbidden
from devops_mcp.models.principals import NOBODY, Principal
from devops_mcp.operations.deeds import refused
from devops_mcp.operations.platform import Platform
from devops_mcp.serving.authentication import principal_of
from rest_api import etags, sparse
from rest_api.cursors import Cursors, scope_of
from rest_api.endpoint import LINES, AnyEndpoint, Call, NoBody
from rest_api.parameters import JSON, body_of, given_of, params_of


class Answering:
    """One endpoint, served."""

    def __init__(self, endpoint: AnyEndpoint, platform: Platform, cursors: Cursors) -> None:
        self._endpoint = endpoint
        self._platform = platform
        self._cursors = cursors
        self._authenticate = platform.authenticator.authenticate
        self._name = endpoint.handle.__name__
        self._route = f"{endpoint.method} {endpoint.path}"
        self._pages = endpoint.pages
        self._fields = endpoint.fields

    async def __call__(self, request: Request) -> Response:
        principal = NOBODY if self._endpoint.open else await principal_of(request, self._authenticate)
        given = given_of(request)
        fields = self._chosen(given)
        scope = self._opened(given, principal) if self._pages else b""
        params = params_of(self._endpoint.params, given)
        body = NoBody() if self._endpoint.body is NoBody else await body_of(self._endpoint.body, request)
        reply = await self._handled(request, Call(self._platform, principal, params, body))
        if isinstance(reply, AsyncIterator):
            return StreamingResponse(_lines(reply), self._endpoint.status, media_type=LINES)
        if self._endpoint.status == 204:
            return Response(status_code=204)
        if self._pages:
            reply = self._signed(reply, scope)
        return self._shown(request, reply, fields)

    async def _handled(self, request: Request, call: Call[Any, Any]) -> BaseModel | AsyncIterator[BaseModel]:
        async with denials_recorded(self._platform, call.principal, self._name, request):
            reply: BaseModel | AsyncIterator[BaseModel] = await self._endpoint.handle(call)
        return reply

    def _chosen(self, given: dict[str, str]) -> tuple[str, ...]:
        value = given.pop(sparse.FIELDS, None) if self._fields else None
        return () if value is None else sparse.chosen(value, self._fields)

    def _opened(self, given: dict[str, str], principal: Principal) -> bytes:
        """Put the position in the cursor's place; what the next page's is bound to."""
        scope = scope_of(principal.tenant_id, self._route, given)
        if (cursor := given.get("cursor")) is not None:
            given["cursor"] = self._cursors.open(cursor, scope)
        return scope

    def _signed(self, page: Any, scope: bytes) -> BaseModel:
        if page.next_cursor is None:
            whole: BaseModel = page
            return whole
        signed: BaseModel = page.model_copy(
            update={"next_cursor": self._cursors.seal(page.next_cursor, scope)}
        )
        return signed

    def _shown(self, request: Request, reply: BaseModel, fields: tuple[str, ...]) -> Response:
        # Not by way of Python's objects: a large float comes back from PostgreSQL as an integer that orjson does not write.
        whole = reply.model_dump_json().encode()
        if self._endpoint.method != "GET":
            headers = {"cache-control": "no-store"} if self._endpoint.open else None  # RFC 6749 §5.1
            return Response(whole, self._endpoint.status, headers, media_type=JSON)
        shown, tag = whole, etags.version_of(whole)
        if fields:
            shown = sparse.part_of(self._endpoint.reply, reply, fields).encode()
            tag = etags.part_version(tag, shown)
        headers = {"etag": f'"{tag}"', "cache-control": "private, no-cache"}
        known = request.headers.get("if-none-match")
        if known is not None and etags.is_known(known, tag):
            return Response(status_code=304, headers=headers)
        return Response(shown, self._endpoint.status, headers, media_type=JSON)


@asynccontextmanager
async def denials_recorded(
    platform: Platform, principal: Principal, action: str, request: Request
) -> AsyncIterator[None]:
    """Leave a record of what the principal is refused within the block, unless there is one."""
    try:
        yield
    except Forbidden as error:
        if not error.recorded:
            await platform.audit.record(refused(principal, action, request.url.path[:300]))
        raise


async def _lines(items: AsyncIterator[BaseModel]) -> AsyncIterator[bytes]:
    async for item in items:
        yield f"{item.model_dump_json()}\n".encode()
