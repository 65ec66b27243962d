"""Conversation contexts: kept, appended to, read, and searchable from the moment they are written."""

from collections.abc import Sequence
from uuid import UUID

from devops_mcp.cache.changes import Changes
from devops_mcp.embedding.chunking import split
from devops_mcp.embedding.tokens import count_tokens
from devops_mcp.events.messages import EmbeddingRequested
from devops_mcp.events.queues import QueueName
from devops_mcp.models.base import JsonObject
from devops_mcp.models.contexts import Context, ContextItem, ItemKind, NewItem
from devops_mcp.models.errors import Forbidden, NotFound
from devops_mcp.models.ids import new_id
from devops_mcp.models.pages import Page
from devops_mcp.models.passages import NewPassage, PassageKind
from devops_mcp.models.principals import Principal
from devops_mcp.observability.tracing import current_traceparent
from devops_mcp.operations.compaction_requests import request_compaction
from devops_mcp.repositories.contexts import CountedItem
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.transaction import Transaction

READ = "contexts:read"
WRITE = "contexts:write"
ANY_OWNER = "contexts:any_owner"
COMPACT_ABOVE = 20_000
KEPT_PART = 4
"""Of the tokens above which a context is summed up, one part in so many stays as it is: the latest."""


class ContextService:
    """A context is its owner's; with `contexts:any_owner` a principal reaches those of its whole tenant."""

    def __init__(
        self,
        database: Database,
        *,
        embeds: bool,
        changes: Changes | None = None,
        compact_above: int = COMPACT_ABOVE,
    ) -> None:
        self._database = database
        self._embeds = embeds
        self._changes = changes
        self._compact_above = compact_above

    async def create(
        self,
        principal: Principal,
        title: str,
        metadata: JsonObject | None = None,
        *,
        compact_above: int | None = None,
    ) -> Context:
        """A new context of the principal's; it is summed up above so many tokens, or as the operator has set for all."""
        require(principal, WRITE)
        async with self._database.transaction(principal.tenant_id) as tx:
            return await tx.contexts.create(new_id(), principal.id, title, metadata or {}, compact_above)

    async def get(self, principal: Principal, context_id: UUID) -> Context:
        """Raises `NotFound` when there is none, or it is another's."""
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            return await visible(tx, principal, context_id)

    async def require_writable(self, principal: Principal, context_id: UUID) -> None:
        """Raise `NotFound` or `Forbidden` unless the principal may append to the context."""
        require(principal, WRITE)
        async with self._database.transaction(principal.tenant_id) as tx:
            await visible(tx, principal, context_id)

    async def page(self, principal: Principal, *, cursor: UUID | None, limit: int) -> Page[Context]:
        """The principal's contexts, newest first."""
        require(principal, READ)
        owner = None if principal.may(ANY_OWNER) else principal.id
        async with self._database.transaction(principal.tenant_id) as tx:
            found = await tx.contexts.page(owner, cursor, limit + 1)
        more = str(found[limit - 1].id) if len(found) > limit else None
        return Page(items=tuple(found[:limit]), next_cursor=more)

    async def items(
        self, principal: Principal, context_id: UUID, *, after: int, limit: int
    ) -> Page[ContextItem]:
        """Items in order, from the position behind `after`."""
        _, page = await self.read(principal, context_id, after=after, limit=limit)
        return page

    async def read(
        self, principal: Principal, context_id: UUID, *, after: int, limit: int
    ) -> tuple[Context, Page[ContextItem]]:
        """A context and a page of its items, from the position behind `after`, as they were at one moment."""
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            context = await visible(tx, principal, context_id)
            found = await tx.contexts.items(context_id, after, limit + 1)
        more = str(found[limit - 1].position) if len(found) > limit else None
        return context, Page(items=tuple(found[:limit]), next_cursor=more)

    async def append(
        self, principal: Principal, context_id: UUID, items: Sequence[NewItem]
    ) -> list[ContextItem]:
        """Add items at the end, in order, and index them; they can be found by their words once this returns."""
        require(principal, WRITE)
        counted = [CountedItem(new_id(), item, count_tokens(item.text)) for item in items]
        async with self._database.transaction(principal.tenant_id) as tx:
            context = await visible(tx, principal, context_id)
            appended = await tx.contexts.append(context_id, counted)
            await index_items(tx, context, appended, embeds=self._embeds)
            await self._sum_up_if_long(tx, context, sum(item.tokens for item in counted))
        await self._tell(context)
        return appended

    async def compact(self, principal: Principal, context_id: UUID, *, keep_tokens: int) -> Context:
        """Have the context summed up in the background, but for the latest `keep_tokens`; it is, even where it is short."""
        require(principal, WRITE)
        async with self._database.transaction(principal.tenant_id) as tx:
            await visible(tx, principal, context_id)
            await request_compaction(tx, context_id, keep_tokens=keep_tokens, above=None)
            return await visible(tx, principal, context_id)

    async def pin(self, principal: Principal, context_id: UUID, position: int, *, pinned: bool) -> None:
        """Keep an item in every window of the context, or let it go. Raises `NotFound` where there is none at the position."""
        require(principal, WRITE)
        async with self._database.transaction(principal.tenant_id) as tx:
            context = await visible(tx, principal, context_id)
            if not await tx.contexts.pin(context_id, position, pinned):
                raise NotFound(f"there is no item {position} in context {context_id}")
        await self._tell(context)

    async def summarised(
        self, principal: Principal, context_id: UUID, text: str, *, covers: tuple[int, int], made_by: str
    ) -> ContextItem:
        """Append a summary of the items at the positions `covers`."""
        require(principal, WRITE)
        async with self._database.transaction(principal.tenant_id) as tx:
            context = await visible(tx, principal, context_id)
            [appended] = await tx.contexts.append(context_id, [summary_item(text, covers, made_by)])
            await index_items(tx, context, [appended], embeds=self._embeds)
        await self._tell(context)
        return appended

    async def delete(self, principal: Principal, context_id: UUID) -> None:
        """Remove a context with its items and what was indexed of them."""
        require(principal, WRITE)
        async with self._database.transaction(principal.tenant_id) as tx:
            context = await visible(tx, principal, context_id)
            await tx.contexts.delete(context_id)
        await self._tell(context)

    async def _tell(self, context: Context) -> None:
        if self._changes is not None:
            await self._changes.of_resource(context.tenant_id, context_uri(context.id))

    async def _sum_up_if_long(self, tx: Transaction, context: Context, added: int) -> None:
        """Ask for it where nobody is at it. Tokens that others add meanwhile are seen by the next one who appends."""
        above = self._compact_above if context.compact_above is None else context.compact_above
        if above and context.compaction_id is None and context.pending_tokens + added > above:
            await request_compaction(tx, context.id, keep_tokens=above // KEPT_PART, above=above)


async def index_items(
    tx: Transaction, context: Context, items: Sequence[ContextItem], *, embeds: bool
) -> None:
    """Make items searchable: by their words with this transaction, by their meaning when a worker has embedded them."""
    passages = [(new_id(), passage) for item in items for passage in _passages(context, item)]
    added = await tx.passages.add(passages, owner_id=context.owner_id)
    if added and embeds:
        await request_vectors(tx, added)


def summary_item(text: str, covers: tuple[int, int], made_by: str) -> CountedItem:
    """A summary of the items at the positions `covers`, to be appended."""
    item = NewItem(kind=ItemKind.SUMMARY, text=text, metadata={"made_by": made_by})
    return CountedItem(new_id(), item, count_tokens(text), covers)


async def request_vectors(tx: Transaction, passage_ids: Sequence[UUID], batch: int = 100) -> None:
    """Ask, through the outbox, for the vectors of passages that this transaction indexed."""
    for start in range(0, len(passage_ids), batch):
        message = EmbeddingRequested(
            id=new_id(), tenant_id=tx.tenant_id, passage_ids=tuple(passage_ids[start : start + batch])
        )
        await tx.outbox.add(QueueName.EMBEDDINGS, message, trace=current_traceparent())


def require(principal: Principal, permission: str) -> None:
    """Raise `Forbidden` unless the principal has the permission."""
    if not principal.may(permission):
        raise Forbidden(f"{principal.name} lacks the permission {permission!r}")


def context_uri(context_id: UUID) -> str:
    """The address of a context, the same for search results, changes and MCP resources."""
    return f"devops://contexts/{context_id}"


async def visible(tx: Transaction, principal: Principal, context_id: UUID) -> Context:
    """The context; raises `NotFound` when there is none, or it is another's."""
    context = await tx.contexts.find(context_id)
    if context is None or (context.owner_id != principal.id and not principal.may(ANY_OWNER)):
        raise NotFound(f"there is no context {context_id}")
    return context


def _passages(context: Context, item: ContextItem) -> list[NewPassage]:
    return [
        NewPassage(
            kind=PassageKind.CONTEXT_ITEM,
            source_id=item.id,
            part=part,
            context_id=context.id,
            title=context.title,
            text=text,
            uri=f"{context_uri(context.id)}#{item.position}",
            occurred_at=item.created_at,
            metadata={"kind": item.kind.value, "position": item.position},
        )
        for part, text in enumerate(split(item.text))
    ]
