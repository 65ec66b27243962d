"""Texts, pictures and documents as the protocol writes them."""

import base64
from typing import TypeAlias

import mcp_types as types
from mcp.shared.exceptions import MCPError

from devops_mcp.models.content import Audio, Block, Document, Image, Link, Text
from devops_mcp.operations.tool_outcomes import ToolOutcome

Content: TypeAlias = (
    types.TextContent | types.ImageContent | types.AudioContent | types.EmbeddedResource | types.ResourceLink
)

MAX_URI = 20_000
"""Characters of an address that is read: that of a search holds its question, escaped."""


def require_bounded(uri: str, longest: int = MAX_URI) -> None:
    """Raise an `MCPError` for an address that is too long to be looked for, and to come back in what is said of it."""
    if len(uri) > longest:
        raise MCPError(types.INVALID_PARAMS, f"an address has at most {longest} characters")


def content_of(block: Block) -> Content:
    """One block."""
    if isinstance(block, Text):
        return types.TextContent(type="text", text=block.text)
    if isinstance(block, Image):
        return types.ImageContent(type="image", data=_encoded(block.data), mime_type=block.mime_type)
    if isinstance(block, Audio):
        return types.AudioContent(type="audio", data=_encoded(block.data), mime_type=block.mime_type)
    if isinstance(block, Link):
        return types.ResourceLink(
            type="resource_link", uri=block.uri, name=block.name, mime_type=block.mime_type
        )
    return types.EmbeddedResource(type="resource", resource=document(block))


def result_of(outcome: ToolOutcome) -> types.CallToolResult:
    """The data as structure and as text, and what is no data after it; that alone where there is no data."""
    content: list[Content] = [content_of(block) for block in outcome.blocks]
    if outcome.data or not content:
        content.insert(0, types.TextContent(type="text", text=outcome.text))
    return types.CallToolResult(content=list(content), structured_content=outcome.data)


def document(block: Document) -> types.TextResourceContents | types.BlobResourceContents:
    """What is behind an address: text, or the bytes of a file."""
    if block.data is not None:
        return types.BlobResourceContents(uri=block.uri, mime_type=block.mime_type, blob=_encoded(block.data))
    return types.TextResourceContents(uri=block.uri, mime_type=block.mime_type, text=block.text or "")


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
