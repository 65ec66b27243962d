"""How an endpoint answers: who calls, what is asked, what the handler says to it, and in which form that goes out.

What every route has alike is here, so that a route declares and does not do it: signed cursors, `fields=`, `ETag` with its conditions,
and `Idempotency-Key`.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import orjson
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from devops_mcp.cache.rates import rate_headers
from devops_mcp.models.errors import PermissionMissing, Refused
from devops_mcp.models.principals import NOBODY, Principal
from devops_mcp.operations.contexts import require
from devops_mcp.operations.deeds import refused
from devops_mcp.operations.platform import Platform
from devops_mcp.repositories.idempotency import CallKey
from devops_mcp.serving.authentication import principal_of
from devops_mcp.serving.protected_resource import ProtectedResource, scopes_with
from devops_mcp.serving.surface import add_headers
from rest_api import encodings, etags, once, sparse
from rest_api.cursors import Cursors, scope_of
from rest_api.endpoint import BINARY, JSON, LINES, AnyEndpoint, Call, File, NoBody, Raw, unversioned
from rest_api.once import Mark, Once, Said, Streamed
from rest_api.parameters import body_of, given_of, params_of, require_unpacked
from rest_api.versions import patched, require_match

NO_STORE = {"cache-control": "no-store"}
"""RFC 6749 §5.1, and for what is shown once."""


class Answering:
    """One endpoint, served."""

    def __init__(
        self,
        endpoint: AnyEndpoint,
        platform: Platform,
        resource: ProtectedResource,
        cursors: Cursors,
        marked: Once,
    ) -> None:
        self._endpoint = endpoint
        self._platform = platform
        self._resource = resource
        self._cursors = cursors
        self._marked = marked
        self._rates = platform.request_rates
        self._authenticate = platform.authenticator.authenticate
        self._name = endpoint.handle.__name__
        self._route = f"{endpoint.method} {endpoint.path}"
        self._pages = endpoint.pages
        self._fields = endpoint.fields
        self._unversioned = unversioned(endpoint.reply)
        self._hides = endpoint.open or endpoint.secret
        self._reads_body = endpoint.body is not NoBody and endpoint.method != "PATCH"

    async def __call__(self, request: Request) -> Response:
        if self._endpoint.open:
            return await self._answer(request, NOBODY)
        principal = await principal_of(request, self._authenticate)
        if self._rates is not None:
            add_headers(request.scope, rate_headers(await self._rates.take(f"rest:{principal.id}")))
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
        if endpoint.method == "GET":
            return await self._read(request, call, scope, fields)
        if endpoint.takes_key and (header := request.headers.get(once.HEADER)) is not None:
            return await self._replied(request, await self._once(request, call, once.key_in(header)))
        return await self._replied(request, await self._said(request, call))

    async def _body(self, request: Request) -> BaseModel:
        if self._endpoint.body is Raw:
            require_unpacked(request)
            return Raw(request=request)
        if not self._reads_body:
            return NoBody()
        body: BaseModel = await body_of(self._endpoint.body, request)
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
            return StreamingResponse(_lines(reply), self._endpoint.status, media_type=LINES)
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
        """What the handler says; of a resource with versions, to what the caller has seen of it."""
        endpoint, expected = self._endpoint, request.headers.get("if-match")
        if endpoint.lock is None or (expected is None and endpoint.method != "PATCH"):
            return await endpoint.handle(call)
        if endpoint.needs:
            require(call.principal, endpoint.needs.format_map(dict(call.params)))
        async with self._platform.database.joining(call.principal.tenant_id) as tx:
            await endpoint.lock(tx, call.params)
            if expected is not None:
                await require_match(endpoint, expected, call)
            if endpoint.method == "PATCH":
                call = await patched(endpoint, request, call)
            return await endpoint.handle(call)

    async def _replied(self, request: Request, said: Said) -> Response:
        headers = dict(NO_STORE) if self._hides else {}
        if said.replayed:
            headers[once.REPLAYED] = "true"
        if said.status == 204:
            return Response(status_code=204, headers=headers)
        if self._endpoint.located:
            headers["location"] = f"{request.url.path}/{_named(said.body)}"
        tag = etags.tag_of(said.body, self._unversioned) if self._endpoint.lock is not None else ""
        return await self._sent(request, said, headers, tag)

    async def _shown(self, request: Request, reply: BaseModel, fields: tuple[str, ...]) -> Response:
        # Not by way of Python's objects: a large float comes back from PostgreSQL as an integer that orjson does not write.
        shown = reply.model_dump_json().encode()
        tag = etags.tag_of(shown, self._unversioned)
        if fields:
            shown = sparse.part_of(self._endpoint.reply, reply, fields).encode()
            tag = etags.part_version(tag, shown)
        headers = {"cache-control": "private, no-cache"}
        known = request.headers.get("if-none-match")
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
        return Response(body, said.status, headers, media_type=JSON)

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
        return page.model_copy(update={"next_cursor": self._cursors.seal(page.next_cursor, scope)})


def _named(body: bytes) -> str:
    """By what an answer's subject is found."""
    made = orjson.loads(body)
    return quote(str(made.get("id") or made["name"]), safe="")


def _file(request: Request, file: File) -> Response:
    tag = etags.version_of(file.content)
    # Never shown by a browser as a page of ours, whatever its sender calls it; the surface adds `nosniff`.
    headers = {
        "content-disposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}",
        "content-security-policy": "sandbox",
        "etag": f'"{tag}"',
        "cache-control": "private, no-cache",
    }
    if etags.is_known(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    sendable = file.media_type.isascii() and file.media_type.isprintable()
    return Response(file.content, media_type=file.media_type if sendable else BINARY, headers=headers)


async def _lines(items: AsyncIterator[BaseModel]) -> AsyncIterator[bytes]:
    async for item in items:
        yield f"{item.model_dump_json()}\n".encode()
