"""Resources and a template."""

import base64
from collections.abc import Mapping

import orjson

from conformance_fixtures.samples import PNG
from devops_mcp.adapters.base import Outside, Resource
from devops_mcp.models.content import Document


async def static_text(client: Outside, holes: Mapping[str, str]) -> Document:
    return Document(
        uri="test://static-text",
        mime_type="text/plain",
        text="This is the content of the static text resource.",
    )


async def static_binary(client: Outside, holes: Mapping[str, str]) -> Document:
    return Document(uri="test://static-binary", mime_type="image/png", data=base64.b64encode(PNG))


async def watched(client: Outside, holes: Mapping[str, str]) -> Document:
    return Document(uri="test://watched-resource", mime_type="text/plain", text="Watched resource content")


async def template(client: Outside, holes: Mapping[str, str]) -> Document:
    said = {"id": holes["id"], "templateTest": True, "data": f"Data for ID: {holes['id']}"}
    return Document(
        uri=f"test://template/{holes['id']}/data",
        mime_type="application/json",
        text=orjson.dumps(said).decode(),
    )


RESOURCES: tuple[Resource[Outside], ...] = (
    Resource("test://static-text", "static-text", "Text", "A text.", "text/plain", static_text),
    Resource("test://static-binary", "static-binary", "Picture", "A picture.", "image/png", static_binary),
    Resource("test://watched-resource", "watched-resource", "Watched", "To watch.", "text/plain", watched),
    Resource("test://template/{id}/data", "template", "Template", "By id.", "application/json", template),
)
