"""Resources: events, contexts and kept results, read by their `devops://` addresses."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import mcp_types as types
import orjson
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from pydantic import JsonValue

from devops_mcp.adapters.base import Resource
from devops_mcp.models.base import JsonObject
from devops_mcp.models.content import Document
from devops_mcp.models.contexts import ContextItem
from devops_mcp.models.errors import Forbidden, InvalidInput, NotFound, PlatformError
from devops_mcp.models.event_queries import EventsWanted
from devops_mcp.models.pages import Order
from devops_mcp.models.passages import MAX_QUERY, Question
from devops_mcp.models.principals import Principal
from devops_mcp.operations.adapter_resources import AdapterResources
from devops_mcp.operations.audit import AuditTrail
from devops_mcp.operations.contexts import require
from devops_mcp.operations.deeds import refused
from devops_mcp.operations.event_log import READ as READ_EVENTS
from devops_mcp.operations.integrations import Integrations
from devops_mcp.operations.search_tools import view_of_hit
from devops_mcp.operations.shaping import fitted
from devops_mcp.operations.skills import SCHEME as SKILL_SCHEME
from devops_mcp.operations.skills import SkillLibrary
from devops_mcp.operations.suite_tools import Suite, as_uuid, view_of_context, view_of_event
from devops_mcp.operations.task_tools import view_of_task
from devops_mcp.repositories.context_pages import Room, Texts
from mcp_server.caller import principal_of
from mcp_server.handlers.contents import document, require_bounded
from mcp_server.handlers.skills import skill_document, skill_resources

SCHEME = "devops://"
INTEGRATIONS_URI = f"{SCHEME}integrations"
EVENTS = f"{SCHEME}events"
JSON = "application/json"
LATEST = 25
COMPLETED_FROM = 100
"""So many of the latest are looked at to complete a value."""
MAX_ITEMS = 100
CONTEXT_BYTES = 65_536
"""So much is shown of a context; `context_get` reads on."""
MAX_HEARD_URI = 4_096
"""Characters of an address that somebody wishes to hear of: it is kept as long as that."""

TEMPLATES = (
    types.ResourceTemplate(
        uri_template=f"{EVENTS}/{{system}}/{{+subject}}",
        name="events-of-subject",
        title="Events of a repository, service or alert",
        description="The latest events, newest first. Subscribe to hear of new ones: devops://events/github/acme/shop.",
        mime_type="application/json",
    ),
    types.ResourceTemplate(
        uri_template=f"{EVENTS}/{{event_id}}", name="event", title="One event", mime_type="application/json"
    ),
    types.ResourceTemplate(
        uri_template=f"{SCHEME}contexts/{{context_id}}",
        name="context",
        title="A conversation context and its first items",
        mime_type="application/json",
    ),
    types.ResourceTemplate(
        uri_template=f"{SCHEME}search/{{query}}",
        name="search",
        title="What is remembered, by a question",
        description="The passages that answer best, of contexts, events and kept results.",
        mime_type="application/json",
    ),
    types.ResourceTemplate(
        uri_template=f"{SCHEME}tasks/{{task_id}}",
        name="task",
        title="How a task stands",
        description="Subscribe to hear when it has questions or has ended.",
        mime_type="application/json",
    ),
    types.ResourceTemplate(
        uri_template=f"{SCHEME}results/{{handle}}",
        name="result",
        title="A tool's result that was cut, whole",
        mime_type="application/json",
    ),
)


class ResourceHandlers:
    """Reads what the caller may see; a thing that is another's is answered like one that does not exist."""

    def __init__(
        self,
        suite: Suite,
        offered: AdapterResources,
        skills: SkillLibrary,
        integrations: Integrations,
        audit: AuditTrail,
    ) -> None:
        self._audit = audit
        self._integrations = integrations
        self._suite = suite
        self._offered = offered
        self._skills = skills

    async def page(
        self, ctx: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        """The events and what the systems offer, then the caller's contexts, newest first."""
        principal = await principal_of(ctx)
        cursor = params.cursor if params else None
        try:
            page = await self._suite.contexts.page(principal, order=Order(after_id=as_uuid(cursor)), limit=50)
        except PlatformError as error:
            raise MCPError(types.INVALID_PARAMS, error.message) from None
        resources = [] if cursor else [_EVENTS_RESOURCE, _INTEGRATIONS_RESOURCE, *self._fixed(principal)]
        resources += [_context_resource(context.id, context.title) for context in page.items]
        return types.ListResourcesResult(
            resources=resources, next_cursor=page.next_cursor, ttl_ms=0, cache_scope="private"
        )

    async def templates(
        self, ctx: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        principal = await principal_of(ctx)
        offered = [_template(r) for r in self._offered.visible(principal) if r.is_template]
        return types.ListResourceTemplatesResult(
            resource_templates=[*TEMPLATES, *offered], ttl_ms=60_000, cache_scope="private"
        )

    async def read(
        self, ctx: ServerRequestContext[Any, Any], params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        principal = await principal_of(ctx)
        require_bounded(str(params.uri))
        try:
            found = await self._document(principal, str(params.uri))
        except PlatformError as error:
            raise await self._refusal(principal, str(params.uri), error) from None
        return types.ReadResourceResult(contents=[document(found)], ttl_ms=0, cache_scope="private")

    async def complete(
        self, principal: Principal, template: str, name: str, begun: str, known: Mapping[str, str]
    ) -> list[str] | None:
        """Values for a hole of one of our own templates; None for a template that is not ours."""
        if template not in {own.uri_template for own in TEMPLATES}:
            return None
        if name in ("system", "subject"):
            wanted = EventsWanted(system=known.get("system") if name == "subject" else None)
            events = await self._suite.events.page(principal, wanted, limit=COMPLETED_FROM)
            values = [event.system if name == "system" else event.subject for event in events.items]
        elif name == "context_id":
            contexts = await self._suite.contexts.page(principal, limit=COMPLETED_FROM)
            values = [str(context.id) for context in contexts.items]
        else:
            values = []
        return [value for value in dict.fromkeys(values) if value.startswith(begun)]

    async def require_readable(self, principal: Principal, uri: str) -> None:
        """Raise an `MCPError`, the same for what is another's as for what does not exist, unless the address may be read and watched."""
        require_bounded(uri, MAX_HEARD_URI)
        try:
            if not await self._is_readable(principal, uri):
                raise NotFound(f"there is no resource {uri}")
        except PlatformError as error:
            raise await self._refusal(principal, uri, error) from None

    async def _refusal(self, principal: Principal, uri: str, error: PlatformError) -> MCPError:
        """The error to answer with; what was denied is recorded."""
        if isinstance(error, Forbidden) and not error.recorded:
            await self._audit.record(refused(principal, "resources.read", uri[:300]))
        return MCPError(types.INVALID_PARAMS, error.message, {"uri": uri})

    async def _is_readable(self, principal: Principal, uri: str) -> bool:
        if uri.startswith(SKILL_SCHEME):
            return self._skills.file(uri) is not None
        if not uri.startswith(SCHEME):
            return self._offered.covers(principal, uri)
        kind, _, rest = uri.removeprefix(SCHEME).partition("/")
        if kind == "events":
            require(principal, READ_EVENTS)
        elif kind == "contexts" and (context_id := _uuid(rest)):
            await self._suite.contexts.get(principal, context_id)
        elif kind == "tasks" and (task_id := _uuid(rest)):
            await self._suite.tasks.get(principal, task_id)
        elif kind != "integrations" or rest:
            return False
        return True

    def _fixed(self, principal: Principal) -> list[types.Resource]:
        offered = [_resource(r) for r in self._offered.visible(principal) if not r.is_template]
        return [*offered, *skill_resources(self._skills)]

    async def _document(self, principal: Principal, uri: str) -> Document:
        if uri.startswith(SKILL_SCHEME):
            return skill_document(self._skills, uri)
        if not uri.startswith(SCHEME):
            return await self._offered.read(principal, uri)
        return Document(uri=uri, mime_type=JSON, text=await self._text(principal, uri))

    async def _text(self, principal: Principal, uri: str) -> str:
        kind, _, rest = uri.removeprefix(SCHEME).partition("#")[0].partition("/")
        if uri.startswith(SCHEME):
            if kind == "events":
                return await self._events(principal, rest)
            if kind == "contexts" and (context_id := _uuid(rest)):
                return await self._context(principal, context_id)
            if kind == "search" and rest:
                return await self._search(principal, unquote(rest))
            if kind == "results" and (handle := _uuid(rest)):
                return "\n".join(await self._suite.results.lines(principal, handle, None))
            if kind == "tasks" and (task_id := _uuid(rest)):
                task = await self._suite.tasks.get(principal, task_id)
                return _json(view_of_task(task).model_dump(mode="json"))
            if kind == "integrations" and not rest:
                return _json({"items": list(self._integrations.describe(principal.tenant_id))})
        raise MCPError(types.INVALID_PARAMS, f"there is no resource {uri}", {"uri": uri})

    async def _events(self, principal: Principal, rest: str) -> str:
        if event_id := _uuid(rest):
            event = await self._suite.events.get(principal, event_id)
            return _json(view_of_event(event).model_dump(mode="json"))
        system, _, subject = rest.partition("/")
        wanted = EventsWanted(system=system or None, subject=subject or None)
        page = await self._suite.events.page(principal, wanted, limit=LATEST)
        return _json({"items": [view_of_event(event).model_dump(mode="json") for event in page.items]})

    async def _search(self, principal: Principal, query: str) -> str:
        if "\0" in query or len(query) > MAX_QUERY:
            raise InvalidInput(f"a question has at most {MAX_QUERY} characters, and no NUL")
        answer = await self._suite.search.ask(principal, Question(query=query))
        found: list[JsonValue] = [
            view_of_hit(hit).model_dump(mode="json", exclude_none=True) for hit in answer.hits
        ]
        return _json({"items": found, "mode": answer.mode})

    async def _context(self, principal: Principal, context_id: UUID) -> str:
        """The context and the first of its items, as far as they fit."""
        room = Room(MAX_ITEMS, CONTEXT_BYTES, Texts.HEADS)
        context, page = await self._suite.contexts.read(principal, context_id, after=0, room=room)
        items: list[JsonValue] = [_beginning(item) for item in page.items]
        shown: JsonObject = {"context": view_of_context(context).model_dump(mode="json"), "items": items}
        return fitted(shown, CONTEXT_BYTES).decode()


def _resource(offered: Resource[Any]) -> types.Resource:
    return types.Resource(
        uri=offered.uri,
        name=offered.name,
        title=offered.title,
        description=offered.description,
        mime_type=offered.mime_type,
    )


def _template(offered: Resource[Any]) -> types.ResourceTemplate:
    return types.ResourceTemplate(
        uri_template=offered.uri,
        name=offered.name,
        title=offered.title,
        description=offered.description,
        mime_type=offered.mime_type,
    )


_EVENTS_RESOURCE = types.Resource(
    uri=EVENTS,
    name="events",
    title="Latest events of all systems",
    description="Changes, builds, deployments and alerts, newest first. Subscribe to hear of new ones.",
    mime_type="application/json",
)


_INTEGRATIONS_RESOURCE = types.Resource(
    uri=INTEGRATIONS_URI,
    name="integrations",
    title="The systems that are connected",
    description="Their names, which a tool's `target` takes, and whether they are read-only.",
    mime_type="application/json",
)


def _context_resource(context_id: UUID, title: str) -> types.Resource:
    return types.Resource(
        uri=f"{SCHEME}contexts/{context_id}",
        name=f"context-{context_id}",
        title=title,
        mime_type="application/json",
    )


def _beginning(item: ContextItem) -> JsonObject:
    shown: JsonObject = item.model_dump(
        mode="json", include={"position", "kind", "role", "text", "created_at"}
    )
    if item.blob_id is not None and item.attachment is None:
        shown["text"] = f"{item.text}…"
    return shown


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _json(data: JsonObject) -> str:
    return orjson.dumps(data).decode()
