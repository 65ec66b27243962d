"""The skills extension (SEP-2640): skills/list, skills/get and resources/directory/read; their files are read as resources."""

from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from devops_mcp.models.base import JsonObject
from devops_mcp.models.content import Document
from devops_mcp.models.errors import NotFound
from devops_mcp.operations.skills import Entry, Skill, SkillFile, SkillLibrary
from mcp_server.caller import principal_of
from mcp_server.handlers.contents import require_bounded

EXTENSION = "io.modelcontextprotocol/skills"
SETTINGS: dict[str, Any] = {"directoryRead": True}
MARKDOWN = "text/markdown"
DIRECTORY = "inode/directory"
TTL_MS = 3_600_000


class UriParams(types.RequestParams):
    """Which skill or directory."""

    uri: str


class DirectoryParams(UriParams):
    """All children of a directory fit on one page."""

    cursor: str | None = None


class SkillHandlers:
    """Offers the platform's own skills."""

    def __init__(self, library: SkillLibrary) -> None:
        self._library = library

    async def page(
        self, ctx: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams
    ) -> JsonObject:
        """All on one page: there are a handful."""
        await principal_of(ctx)
        _refuse_cursor(params.cursor)
        return {"skills": [_entry(skill) for skill in self._library.skills], **_CACHED}

    async def get(self, ctx: ServerRequestContext[Any, Any], params: UriParams) -> JsonObject:
        await principal_of(ctx)
        require_bounded(params.uri)
        try:
            return {"skill": _entry(self._library.skill(params.uri)), **_CACHED}
        except NotFound as error:
            raise MCPError(types.INVALID_PARAMS, error.message, {"uri": params.uri}) from None

    async def directory(self, ctx: ServerRequestContext[Any, Any], params: DirectoryParams) -> JsonObject:
        """The direct children of a skill's directory."""
        await principal_of(ctx)
        _refuse_cursor(params.cursor)
        require_bounded(params.uri)
        try:
            children = self._library.directory(params.uri)
        except NotFound as error:
            raise MCPError(types.INVALID_PARAMS, error.message, {"uri": params.uri}) from None
        return {"resources": [_child(child) for child in children], **_CACHED}


def skill_resources(library: SkillLibrary) -> list[types.Resource]:
    """Every file of every skill, as resources/list shows it."""
    return [_resource(skill, file) for skill in library.skills for file in skill.files]


def skill_document(library: SkillLibrary, uri: str) -> Document:
    """A file of a skill; raises `NotFound`."""
    return Document(uri=uri, mime_type=MARKDOWN, text=library.file(uri).text)


_CACHED: JsonObject = {"ttlMs": TTL_MS, "cacheScope": "public"}


def _entry(skill: Skill) -> JsonObject:
    return {
        "uri": skill.uri,
        "frontmatter": skill.frontmatter,
        "resources": [{"uri": file.uri, "digest": file.digest, "size": file.size} for file in skill.files],
    }


def _resource(skill: Skill, file: SkillFile) -> types.Resource:
    manifest = file.uri == skill.uri
    return types.Resource(
        uri=file.uri,
        name=str(skill.frontmatter["name"]) if manifest else file.path,
        description=str(skill.frontmatter["description"]) if manifest else f"Belongs to {skill.uri}",
        mime_type=MARKDOWN,
        size=file.size,
    )


def _child(entry: Entry) -> JsonObject:
    name = entry.uri.rsplit("/", 1)[-1]
    if entry.file is None:
        return {"uri": entry.uri, "name": name, "mimeType": DIRECTORY}
    return {"uri": entry.uri, "name": name, "mimeType": MARKDOWN, "size": entry.file.size}


def _refuse_cursor(cursor: str | None) -> None:
    if cursor is not None:
        raise MCPError(types.INVALID_PARAMS, "not a cursor of this list; begin again without one")
