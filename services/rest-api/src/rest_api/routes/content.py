"""What is no JSON: files that are attached to a context, as they are, and contexts as JSON Lines."""

from collections.abc import AsyncIterator
from uuid import UUID

from pydantic import Field, JsonValue

from devops_mcp.models.base import Model
from devops_mcp.models.contexts import Context, ContextItem
from devops_mcp.models.errors import MalformedInput, PayloadTooLarge
from devops_mcp.operations.blobs import Upload
from devops_mcp.serving.strict_json import loads
from rest_api.endpoint import BINARY, LINES, AnyEndpoint, Call, Endpoint, File, NoBody, NoParams, Raw
from rest_api.routes.contexts import OneItem

TAG = "contexts"
MAX_LINE = 40_000_000
"""Bytes: a file of the largest size, as base64."""


class AttachmentOf(Model):
    """Which context a file is attached to, its name, and what is said of it."""

    context_id: UUID
    name: str = Field(min_length=1, max_length=255, pattern=r"^[^/\\\x00-\x1f]+$")
    text: str = Field(default="", max_length=4_000)


async def attach_file(call: Call[AttachmentOf, Raw]) -> ContextItem:
    """Append the body to a context as a file, as it is, with its `Content-Type`; at most 25 MB."""
    params, file = call.params, call.body
    upload = Upload(params.name, file.media_type, await file.content())
    return await call.platform.suite.contexts.attach(call.principal, params.context_id, upload, params.text)


async def get_attachment(call: Call[OneItem, NoBody]) -> File:
    """Get an attached file, as it was sent."""
    contexts, params = call.platform.suite.contexts, call.params
    attachment, content = await contexts.attachment(call.principal, params.context_id, params.position)
    return File(name=attachment.name, media_type=attachment.media_type, content=content)


async def import_context(call: Call[NoParams, Raw]) -> Context:
    """Create a context of the JSON Lines that its export gave; it belongs to the caller."""
    return await call.platform.suite.copies.take_in(call.principal, _values(call.body.chunks()))


CONTENT: tuple[AnyEndpoint, ...] = (
    Endpoint(
        "POST",
        "/api/v1/attachments",
        TAG,
        attach_file,
        ContextItem,
        params=AttachmentOf,
        body=Raw,
        takes=BINARY,
        status=201,
        made_at="/api/v1/contexts/{context_id}/items/{position}",
        errors=(404, 409),
        leased=True,
    ),
    Endpoint(
        "GET",
        "/api/v1/contexts/{context_id}/items/{position}/content",
        TAG,
        get_attachment,
        File,
        params=OneItem,
        errors=(404,),
    ),
    Endpoint(
        "POST",
        "/api/v1/imports",
        TAG,
        import_context,
        Context,
        body=Raw,
        takes=LINES,
        status=201,
        made_at="/api/v1/contexts/{id}",
        errors=(409,),
        leased=True,
    ),
)


async def _values(chunks: AsyncIterator[bytes]) -> AsyncIterator[JsonValue]:
    """The values of the lines, as they come. Raises `MalformedInput`, naming the line."""
    number = 0
    async for line in _lines(chunks):
        number += 1
        try:
            value = loads(line)
        except MalformedInput as error:
            raise MalformedInput(f"line {number}: {error.message}") from None
        yield value


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines, as they come; empty ones are passed over."""
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
                yield line
    if begun.strip():
        yield bytes(begun)
