"""Tools that answer with every kind of content, report while they run, or show a schema of their own."""

import asyncio
import base64
from typing import Any

from pydantic import ConfigDict, Field

from conformance_fixtures.samples import PNG, WAV
from devops_mcp.adapters.base import Outside, Params, Tool, ToolResult
from devops_mcp.models.base import JsonObject
from devops_mcp.models.content import Audio, Block, Document, Image, Text
from devops_mcp.models.conversation import Conversation
from devops_mcp.models.errors import InvalidInput

MOMENT_S = 0.05
_PNG, _WAV = base64.b64encode(PNG), base64.b64encode(WAV)


def said(*blocks: Block) -> ToolResult:
    return ToolResult(blocks=blocks)


def text(value: str) -> ToolResult:
    return said(Text(text=value))


async def simple_text(client: Outside, params: Params) -> ToolResult:
    """Answers with a text."""
    return text("This is a simple text response for testing.")


async def image(client: Outside, params: Params) -> ToolResult:
    """Answers with a picture."""
    return said(Image(data=_PNG, mime_type="image/png"))


async def audio(client: Outside, params: Params) -> ToolResult:
    """Answers with a sound."""
    return said(Audio(data=_WAV, mime_type="audio/wav"))


async def embedded(client: Outside, params: Params) -> ToolResult:
    """Answers with a document."""
    return said(
        Document(
            uri="test://embedded-resource",
            mime_type="text/plain",
            text="This is an embedded resource content.",
        )
    )


async def mixed(client: Outside, params: Params) -> ToolResult:
    """Answers with a text, a picture and a document."""
    return said(
        Text(text="Multiple content types test:"),
        Image(data=_PNG, mime_type="image/png"),
        Document(
            uri="test://mixed-content-resource",
            mime_type="application/json",
            text='{"test":"data","value":123}',
        ),
    )


async def fails(client: Outside, params: Params) -> ToolResult:
    """Answers with an error."""
    raise InvalidInput("This tool intentionally returns an error for testing")


async def logs(client: Outside, params: Params, conversation: Conversation) -> ToolResult:
    """Tells three things while it runs."""
    await conversation.log("info", "Tool execution started")
    await asyncio.sleep(MOMENT_S)
    await conversation.log("info", "Tool processing data")
    await asyncio.sleep(MOMENT_S)
    await conversation.log("info", "Tool execution completed")
    return text("Tool with logging executed")


async def progresses(client: Outside, params: Params, conversation: Conversation) -> ToolResult:
    """Reports how far it is."""
    for done in (0, 50, 100):
        await conversation.progress(done, 100)
        await asyncio.sleep(MOMENT_S)
    return text("Tool with progress executed")


async def sends_away(client: Outside, params: Params, conversation: Conversation) -> ToolResult:
    """Frees the client's connection and answers a moment later."""
    await conversation.let_go()
    await asyncio.sleep(2 * MOMENT_S)
    return text("Reconnection test completed")


async def tools_change(client: Outside, params: Params) -> ToolResult:
    """Says that the list of tools changed."""
    await client.changed("tools")
    return text("told")


async def prompts_change(client: Outside, params: Params) -> ToolResult:
    """Says that the list of prompts changed."""
    await client.changed("prompts")
    return text("told")


class HeaderParams(Params):
    region: str = Field(default="here", max_length=100, description="Mirrored in a header.")


async def mirrored(client: Outside, params: HeaderParams) -> ToolResult:
    """Takes an argument that a header mirrors."""
    return text(f"region {params.region}")


class AnyParams(Params):
    model_config = ConfigDict(frozen=True, extra="allow")


async def described(client: Outside, params: AnyParams) -> ToolResult:
    """Tool with JSON Schema 2020-12 features"""
    return text("called")


SCHEMA: JsonObject = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
HEADER_SCHEMA: JsonObject = {
    "type": "object",
    "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
    "required": ["region"],
}

TOOLS: tuple[Tool[Outside, Any, Any], ...] = (
    Tool("test_simple_text", "Text", Params, ToolResult, simple_text),
    Tool("test_image_content", "Picture", Params, ToolResult, image),
    Tool("test_audio_content", "Sound", Params, ToolResult, audio),
    Tool("test_embedded_resource", "Document", Params, ToolResult, embedded),
    Tool("test_multiple_content_types", "Mixed", Params, ToolResult, mixed),
    Tool("test_error_handling", "Error", Params, ToolResult, fails),
    Tool("test_tool_with_logging", "Logging", Params, ToolResult, logs),
    Tool("test_logging_tool", "Logging", Params, ToolResult, logs),
    Tool("test_reconnection", "Away", Params, ToolResult, sends_away),
    Tool("test_trigger_tool_change", "Change", Params, ToolResult, tools_change),
    Tool("test_trigger_prompt_change", "Change", Params, ToolResult, prompts_change),
    Tool("test_tool_with_progress", "Progress", Params, ToolResult, progresses),
    Tool("test_x_mcp_header", "Header", HeaderParams, ToolResult, mirrored, input_schema=HEADER_SCHEMA),
    Tool("json_schema_2020_12_tool", "Schema", AnyParams, ToolResult, described, input_schema=SCHEMA),
)
