"""What is no JSON: files that are attached to a context, as they are.

POST /api/v1/attachments?context_id=…&name=…[&text=…] appends the body as a file, with its `Content-Type`; the answer is the item.
GET /api/v1/contexts/{context_id}/items/{position}/content gives the file back.
"""

from urllib.parse import quote
from uuid import UUID

import orjson
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from devops_mcp.models.base import Model
from devops_mcp.operations.platform import Platform
from devops_mcp.serving.authentication import principal_of
from rest_api.endpoint import params_of
from rest_api.routes.memory import OneItem

BINARY = "application/octet-stream"


class AttachmentOf(Model):
    """Which context a file is attached to, its name, and what is said of it."""

    context_id: UUID
    name: str = Field(min_length=1, max_length=255, pattern=r"^[^/\\\x00-\x1f]+$")
    text: str = Field(default="", max_length=10_000)


def content_routes(platform: Platform) -> list[Route]:
    """Attachments in and out."""

    async def attach_file(request: Request) -> Response:
        principal = await principal_of(request, platform.authenticator.authenticate)
        wanted = params_of(AttachmentOf, request)
        item = await platform.suite.contexts.attach(
            principal,
            wanted.context_id,
            name=wanted.name,
            media_type=request.headers.get("content-type", BINARY)[:200],
            body=await request.body(),
            text=wanted.text,
        )
        return Response(orjson.dumps(item.model_dump(mode="json")), 201, media_type="application/json")

    async def get_attachment(request: Request) -> Response:
        principal = await principal_of(request, platform.authenticator.authenticate)
        wanted = params_of(OneItem, request)
        attachment, body = await platform.suite.contexts.attachment(
            principal, wanted.context_id, wanted.position
        )
        # Never shown by a browser as a page of ours, whatever its sender calls it; the surface adds `nosniff`.
        headers = {
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(attachment.name, safe='')}",
            "Content-Security-Policy": "sandbox",
        }
        return Response(body, media_type=_safe(attachment.media_type), headers=headers)

    return [
        Route("/api/v1/attachments", attach_file, methods=["POST"]),
        Route("/api/v1/contexts/{context_id}/items/{position}/content", get_attachment, methods=["GET"]),
    ]


def _safe(media_type: str) -> str:
    return media_type if media_type.isascii() and media_type.isprintable() else BINARY
