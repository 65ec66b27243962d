"""How an endpoint answers: who calls, what is asked, what the handler says to it, and in which form that goes out.

What every route has alike is here, so that a route declares and does not do it: signed cursors, `fields=`, `ETag` with its conditions,
and `Idempotency-Key`.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from urllib.parse import quote
from uuid import UUID

import orjson
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from devops_mcp.cache.rates import rate_headers
from devops_mcp.models.errors import PermissionMissing, Refused
from devops_mcp.models.pages import WrittenPage
from devops_mcp.models.principals import NOBODY, Principal
from devops_mcp.observability.caller import set_caller
from devops_mcp.operations.contexts import require
from devops_mcp.operations.deeds import refused
from devops_mcp.operations.platform import Platform
from devops_mcp.repositories.idempotency import CallKey
from devops_mcp.serving.authentication import principal_of
from devops_mcp.serving.lasting import Lasting
from devops_mcp.serving.protected_resource import ProtectedResource, scopes_with
from devops_mcp.serving.surface import add_headers
from rest_api import encodings, etags, once, sparse
from rest_api.cursors import Cursors, scope_of
from rest_api.endpoint import BINARY, JSON, LINES, AnyEndpoint, Call, File, NoBody, Raw, unversioned
from rest_api.once import Mark, Once, Said, Streamed
from rest_api.parameters import body_of, given_of, params_of, require_unpacked
from rest_api.versions import patched, require_met

NO_STORE = {"cache-control": "no-store"}
"""RFC 6749 §5.1, and for what is shown once."""
_PIECE = 262_144
_HOLE = re.compile(r"{(\w+)}")


class Answering:
    """One endpoint, served."""

    def __init__(
        self,
        endpoint: AnyEndpoint,
        platform: Platform,
        resource: ProtectedResource,
        cursors: Cursors,
        marked: Once,
        slow: Lasting,
    ) -> None:
        self._endpoint = endpoint
        self._platform = platform
        self._resource = resource
        self._cursors = cursors
        self._marked = marked
        self._slow = slow if endpoint.lines or endpoint.reply is File else None
        self._rates = platform.request_rates
        self._authenticate = platform.authenticator.authenticate
        self._name = endpoint.handle.__name__
        self._route = endpoint.route
        self._pages = endpoint.pages
        self._fields = endpoint.fields
        self._conditional = endpoint.conditional
        self._unversioned = unversioned(endpoint.reply)
        self._hides = endpoint.open or endpoint.secret
        self._reads_body = endpoint.body is not NoBody and endpoint.method != "PATCH"

    async def __call__(self, request: Request) -> Response:
        if self._endpoint.open:
            return await self._answer(request, NOBODY)
        principal = await principal_of(request, self._authenticate)
        set_caller(principal.id)
        if self._rates is not None:
            add_headers(request.scope, rate_headers(await self._rates.take(principal)))
        try:
            return await self._answer(request, principal)
        except PermissionMissing as error:
            if scopes := scopes_with(principal, error.permission):
                challenge = self._resource.too_narrow(request.scope, scopes)
                add_headers(request.scope, {"www-authenticate": challenge})
            raise

    async def _answer(self, request: Request, principal: Principal) -> Response:
        endpoint = self._endpoint
        given = given_of(request)
        fields = self._chosen(given)
        scope = self._opened(given, principal) if self._pages else b""
        params = params_of(endpoint.params, given)
        call = Call(self._platform, principal, params, await self._body(request))
        if self._slow is not None and endpoint.method == "GET":
            with ExitStack() as place:
                place.enter_context(self._slow.held(principal))
                answer = await self._read(request, call, scope, fields)
                return _Held(answer, place.pop_all())
        if endpoint.method == "GET":
            return await self._read(request, call, scope, fields)
        if endpoint.takes_key and (keys := request.headers.getlist(once.HEADER)):
            return await self._replied(request, call, await self._once(request, call, once.key_in(keys)))
        return await self._replied(request, call, await self._said(request, call))

    async def _body(self, request: Request) -> BaseModel:
        if self._endpoint.body is Raw:
            require_unpacked(request)
            return Raw(request=request)
        if not self._reads_body:
            return NoBody()
        body: BaseModel = await body_of(self._endpoint.body, request, needed=self._endpoint.needs_body)
        return body

    async def _read(
        self, request: Request, call: Call[Any, Any], scope: bytes, fields: tuple[str, ...]
    ) -> Response:
        try:
            reply = await self._endpoint.handle(call)
        except Refused as error:
            await self._record(error, request, call.principal)
            raise
        if isinstance(reply, AsyncIterator):
            lines = _lines(reply, call.principal.id)
            return StreamingResponse(lines, self._endpoint.status, media_type=LINES)
        if isinstance(reply, File):
            return _file(request, reply)
        return await self._shown(request, self._signed(reply, scope) if self._pages else reply, fields)

    async def _once(self, request: Request, call: Call[Any, Any], key: str) -> Said:
        """The answer to a marked request, or what it was answered before."""
        said = [str(request.url.path), str(request.url.query), request.headers.get("content-type", "")]
        content, streamed = "\n".join(said).encode() + b"\n\n", None
        if self._endpoint.takes == LINES:  # too many to be kept for a comparison
            streamed = Streamed(request.stream())
            call = replace(call, body=Raw(request=request, streamed=streamed))
        else:
            content += await request.body()
        principal = call.principal
        mark = Mark(principal.tenant_id, CallKey(principal.id, self._route, key), content, streamed)
        do = self._marked.leased if self._endpoint.leased else self._marked.with_its_effect
        return await do(mark, lambda: self._said(request, call))

    async def _said(self, request: Request, call: Call[Any, Any]) -> Said:
        try:
            reply = await self._changed(request, call)
        except Refused as error:
            await self._record(error, request, call.principal)
            raise
        if self._endpoint.status == 204:
            return Said(204, b"")
        return Said(self._endpoint.status, reply.model_dump_json().encode())

    async def _changed(self, request: Request, call: Call[Any, Any]) -> Any:
        """What the handler says; where the caller says how it has seen what is there, to that."""
        endpoint = self._endpoint
        conditions = etags.Conditions.of(request.headers) if self._conditional else None
        if not conditions and endpoint.method != "PATCH":
            return await endpoint.handle(call)
        if endpoint.needs:
            require(call.principal, endpoint.needs.format_map(dict(call.params)))
        tenant_id = call.principal.tenant_id if endpoint.tenant is None else endpoint.tenant(call.params)
        async with self._platform.database.joining(tenant_id) as tx:
            if endpoint.lock is not None:
                await endpoint.lock(tx, call.params)
            if conditions:
                await require_met(endpoint, conditions, call)
            if endpoint.method == "PATCH":
                call = await patched(endpoint, request, call)
            return await endpoint.handle(call)

    async def _replied(self, request: Request, call: Call[Any, Any], said: Said) -> Response:
        headers = dict(NO_STORE) if self._hides else {}
        if said.replayed:
            headers[once.REPLAYED] = "true"
        if said.status == 204:
            return Response(status_code=204, headers=headers)
        if self._endpoint.made_at:
            headers["location"] = _location(self._endpoint.made_at, call.params, said.body)
        tag = etags.tag_of(said.body, self._unversioned) if self._endpoint.lock is not None else ""
        return await self._sent(request, said, headers, tag)

    async def _shown(
        self, request: Request, reply: BaseModel | WrittenPage, fields: tuple[str, ...]
    ) -> Response:
        shown = sparse.whole(reply)
        tag = etags.tag_of(shown, self._unversioned)
        if fields:
            shown = sparse.part_of(self._endpoint.reply, reply, fields).encode()
            tag = etags.part_version(tag, shown)
        headers = {"cache-control": "private, no-cache"}
        known = etags.condition(request.headers, "if-none-match")
        if known is not None and etags.is_known(known, tag):
            return Response(
                status_code=304, headers={**headers, "etag": f'"{tag}"', "vary": "accept-encoding"}
            )
        return await self._sent(request, Said(self._endpoint.status, shown), headers, tag)

    async def _sent(self, request: Request, said: Said, headers: dict[str, str], tag: str) -> Response:
        """In the encoding that suits both; each has a tag of its own."""
        body, coding = said.body, None
        if not self._hides:
            headers["vary"] = "accept-encoding"
            coding = encodings.negotiated(request.headers.get("accept-encoding", ""), len(body))
        if coding is not None:
            body = await encodings.encoded(coding, body)
            headers["content-encoding"] = coding
        if tag:
            headers["etag"] = f'"{tag}"' if coding is None else f'"{tag}-{coding}"'
        return _Json(body, said.status, headers)

    async def _record(self, denial: Refused, request: Request, principal: Principal) -> None:
        """Leave a record of what the principal is refused, unless there is one."""
        if not denial.recorded:
            record = refused(principal, self._name, request.url.path[:300], denial.code)
            await self._platform.audit.record(record)

    def _chosen(self, given: dict[str, str]) -> tuple[str, ...]:
        value = given.pop(sparse.FIELDS, None) if self._fields else None
        return () if value is None else sparse.chosen(value, self._fields)

    def _opened(self, given: dict[str, str], principal: Principal) -> bytes:
        """Put the position in the cursor's place; what the next page's is bound to."""
        scope = scope_of(principal.tenant_id, self._route, given)
        if (cursor := given.get("cursor")) is not None:
            given["cursor"] = self._cursors.open(cursor, scope)
        return scope

    def _signed(self, page: Any, scope: bytes) -> Any:
        if page.next_cursor is None:
            return page
        sealed = self._cursors.seal(page.next_cursor, scope)
        if isinstance(page, WrittenPage):
            return replace(page, next_cursor=sealed)
        return page.model_copy(update={"next_cursor": sealed})


class _Json(Response):
    """JSON as bytes, with headers whose names are in lower case."""

    media_type = JSON

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        named = {"content-length": str(len(self.body)), "content-type": JSON, **(headers or {})}
        self.raw_headers = [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()
        ]


def _location(path: str, params: BaseModel, body: bytes) -> str:
    """Where what an answer tells of is found."""
    names = {**params.model_dump(), **orjson.loads(body)}
    return _HOLE.sub(lambda hole: quote(str(names[hole[1]]), safe=""), path)


def _file(request: Request, file: File) -> Response:
    tag = etags.version_of(file.content)
    # Never shown by a browser as a page of ours, whatever its sender calls it; the surface adds `nosniff`.
    headers = {
        "content-disposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}",
        "content-security-policy": "sandbox",
        "etag": f'"{tag}"',
        "cache-control": "private, no-cache",
    }
    if etags.is_known(etags.condition(request.headers, "if-none-match") or "", tag):
        return Response(status_code=304, headers=headers)
    sendable = file.media_type.isascii() and file.media_type.isprintable()
    headers["content-length"] = str(len(file.content))
    return StreamingResponse(
        _pieces(file.content), media_type=file.media_type if sendable else BINARY, headers=headers
    )


class _Held(Response):
    """An answer with the place that it takes until its client has read it."""

    def __init__(self, answer: Response, place: ExitStack) -> None:
        self._answer = answer
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._place:
            await self._answer(scope, receive, send)


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    """Each once the one before has been read; in one piece all of it would be copied to wait for its reader."""
    for start in range(0, len(content), _PIECE):
        yield content[start : start + _PIECE]


async def _lines(items: AsyncIterator[BaseModel], caller: UUID) -> AsyncIterator[bytes]:
    set_caller(caller)  # Starlette sends them from a task of its own
    async for item in items:
        yield f"{item.model_dump_json()}\n".encode()
