"""What is no JSON: files that are attached to a context, as they are.

POST /api/v1/attachments?context_id=…&name=…[&text=…] appends the body as a file, with its `Content-Type`; the answer is the item.
GET /api/v1/contexts/{context_id}/items/{position}/content gives the file back.
POST /api/v1/imports makes a context of the JSON Lines that its export gave.
"""

from collections.abc import AsyncIterator
from urllib.parse import quote
from uuid import UUID

import orjson
from pydantic import Field, JsonValue
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from devops_mcp.models.base import Model
from devops_mcp.models.errors import PayloadTooLarge
from devops_mcp.operations.contexts import Upload
from devops_mcp.operations.platform import Platform
from devops_mcp.serving.authentication import principal_of
from devops_mcp.serving.strict_json import loads
from rest_api.answering import denials_recorded
from rest_api.parameters import given_of, params_of
from rest_api.routes.memory import OneItem

BINARY = "application/octet-stream"
MAX_LINE = 40_000_000
"""Bytes: a file of the largest size, as base64."""


class AttachmentOf(Model):
    """Which context a file is attached to, its name, and what is said of it."""

    context_id: UUID
    name: str = Field(min_length=1, max_length=255, pattern=r"^[^/\\\x00-\x1f]+$")
    text: str = Field(default="", max_length=10_000)


def content_routes(platform: Platform) -> list[Route]:
    """Attachments in and out."""

    async def attach_file(request: Request) -> Response:
        principal = await principal_of(request, platform.authenticator.authenticate)
        wanted = params_of(AttachmentOf, given_of(request))
        async with denials_recorded(platform, principal, "attach_file", request):
            item = await platform.suite.contexts.attach(
                principal,
                wanted.context_id,
                Upload(wanted.name, request.headers.get("content-type", BINARY)[:200], await request.body()),
                wanted.text,
            )
        return Response(item.model_dump_json(), 201, media_type="application/json")

    async def get_attachment(request: Request) -> Response:
        principal = await principal_of(request, platform.authenticator.authenticate)
        wanted = params_of(OneItem, given_of(request))
        async with denials_recorded(platform, principal, "get_attachment", request):
            attachment, body = await platform.suite.contexts.attachment(
                principal, wanted.context_id, wanted.position
            )
        # Never shown by a browser as a page of ours, whatever its sender calls it; the surface adds `nosniff`.
        headers = {
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(attachment.name, safe='')}",
            "Content-Security-Policy": "sandbox",
        }
        return Response(body, media_type=_safe(attachment.media_type), headers=headers)

    async def import_context(request: Request) -> Response:
        principal = await principal_of(request, platform.authenticator.authenticate)
        async with denials_recorded(platform, principal, "import_context", request):
            context = await platform.suite.copies.take_in(principal, _lines(request.stream()))
        return Response(orjson.dumps(context.model_dump(mode="json")), 201, media_type="application/json")

    return [
        Route("/api/v1/imports", import_context, methods=["POST"]),
        Route("/api/v1/attachments", attach_file, methods=["POST"]),
        Route("/api/v1/contexts/{context_id}/items/{position}/content", get_attachment, methods=["GET"]),
    ]


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[JsonValue]:
    """The values of the lines, as they come; empty lines are passed over."""
    begun = bytearray()
    async for chunk in chunks:
        if b"\n" not in chunk:
            begun += chunk
            if len(begun) > MAX_LINE:
                raise PayloadTooLarge(f"a line has at most {MAX_LINE} bytes")
            continue
        *whole, rest = (bytes(begun) + chunk).split(b"\n")
        begun = bytearray(rest)
        for line in whole:
            if line.strip():
                yield loads(line)
    if begun.strip():
        yield loads(bytes(begun))


def _safe(media_type: str) -> str:
    return media_type if media_type.isascii() and media_type.isprintable() else BINARY
