"""Conversation contexts: kept, appended to, read, and searchable from the moment they are written."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from devops_mcp.cache.changes import Changes
from devops_mcp.embedding.tokens import count_tokens
from devops_mcp.models.base import JsonObject, utc_now
from devops_mcp.models.blobs import MAX_ATTACHMENT, Attachment
from devops_mcp.models.contexts import (
    Context,
    ContextDraft,
    ContextItem,
    ContextsWanted,
    ItemsWanted,
    NewItem,
    context_uri,
)
from devops_mcp.models.errors import (
    InvalidInput,
    NotFound,
    PayloadTooLarge,
    PermissionMissing,
    Violation,
)
from devops_mcp.models.ids import new_id
from devops_mcp.models.pages import NEWEST, Order, Page, WrittenPage
from devops_mcp.models.principals import Principal
from devops_mcp.operations.blobs import BlobStore, Upload
from devops_mcp.operations.compaction_requests import request_compaction
from devops_mcp.operations.context_deeds import appended, note_change, note_deed, said_of
from devops_mcp.operations.context_removal import remove
from devops_mcp.operations.item_indexing import beside_items, summary_item
from devops_mcp.repositories.context_appends import Beside, CountedItem
from devops_mcp.repositories.context_pages import Room, Texts
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.transaction import Transaction

EVERY = ContextsWanted()
READ = "contexts:read"
WRITE = "contexts:write"
ANY_OWNER = "contexts:any_owner"
COMPACT_ABOVE = 20_000
LARGE = 32_768
"""Bytes above which a text is kept apart."""
PAGE_BYTES = 1_048_576
"""Of items that are read at once: what is beyond, the next page has."""
HEAD = 4_000
"""Characters of it that stay in the row: what a summary and a crowded window see."""
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
        blobs: BlobStore | None = None,
        lifetime: timedelta | None = None,
    ) -> None:
        self._database = database
        self._embeds = embeds
        self._changes = changes
        self._compact_above = compact_above
        self._blobs = blobs or BlobStore(database)
        self._lifetime = lifetime

    async def create(
        self,
        principal: Principal,
        title: str,
        metadata: JsonObject | None = None,
        *,
        compact_above: int | None = None,
        expires_at: datetime | None = None,
    ) -> Context:
        """A new context of the principal's; it is summed up above so many tokens, or as the operator has set for all."""
        require(principal, WRITE)
        _require_ahead(expires_at)
        async with self._database.transaction(principal.tenant_id) as tx:
            ends = expires_at or await self.end(tx)
            made = await tx.contexts.create(
                new_id(), principal.id, title, metadata or {}, compact_above, ends
            )
            await note_deed(tx, principal, "create", made.id, {"after": said_of(made)})
        return made

    async def end(self, tx: Transaction) -> datetime | None:
        """When a context ends whose creator says nothing of it: as the tenant wants, else as the installation does."""
        days = (await tx.tenants.retention()).context_days
        lifetime = self._lifetime if days is None else timedelta(days=days)
        return None if lifetime is None else utc_now() + lifetime

    async def get(self, principal: Principal, context_id: UUID) -> Context:
        """Raises `NotFound` when there is none, or it is another's."""
        require(principal, READ)
        return await self._database.read(principal.tenant_id, lambda tx: visible(tx, principal, context_id))

    async def require_writable(self, principal: Principal, context_id: UUID) -> None:
        """Raise `NotFound` or `Forbidden` unless the principal may append to the context."""
        require(principal, WRITE)
        async with self._database.transaction(principal.tenant_id) as tx:
            await visible(tx, principal, context_id)

    async def page(
        self, principal: Principal, *, limit: int, order: Order = NEWEST, wanted: ContextsWanted = EVERY
    ) -> Page[Context]:
        """The principal's contexts; with `contexts:any_owner` the tenant's."""
        owner = _listed_owner(principal)
        found = await self._database.read(
            principal.tenant_id, lambda tx: tx.contexts.page(owner, wanted, order, limit + 1)
        )
        return order.page(found, limit)

    async def written_page(
        self, principal: Principal, *, limit: int, order: Order, wanted: ContextsWanted
    ) -> WrittenPage:
        """`page` for who passes it on: the contexts are JSON as it comes from the database."""
        owner = _listed_owner(principal)
        found = await self._database.read(
            principal.tenant_id, lambda tx: tx.contexts.written_page(owner, wanted, order, limit + 1)
        )
        return order.written_page(found, limit)

    async def items(
        self, principal: Principal, context_id: UUID, *, after: int, limit: int
    ) -> Page[ContextItem]:
        """Items in order, from the position behind `after`, as many as fit into `PAGE_BYTES`."""
        _, page = await self.read(principal, context_id, after=after, room=Room(limit, PAGE_BYTES))
        return page

    async def items_among(
        self, principal: Principal, context_id: UUID, wanted: ItemsWanted, *, behind: int | None, limit: int
    ) -> Page[ContextItem]:
        """Items that are wanted, behind the position `behind`, as many as fit into `PAGE_BYTES`."""
        require(principal, READ)
        room = Room(limit, PAGE_BYTES)
        async with self._database.transaction(principal.tenant_id) as tx:
            await visible(tx, principal, context_id)
            found, more = await tx.contexts.items_among(context_id, wanted, behind, room)
        items = await self.whole(principal.tenant_id, found)
        return Page(items=tuple(items), next_cursor=str(found[-1].position) if more else None)

    async def item(self, principal: Principal, context_id: UUID, position: int) -> ContextItem:
        """One item. Raises `NotFound`."""
        page = await self.items(principal, context_id, after=position - 1, limit=1)
        if not page.items or page.items[0].position != position:
            raise NotFound(f"context {context_id} has no item {position}")
        return page.items[0]

    async def read(
        self, principal: Principal, context_id: UUID, *, after: int, room: Room
    ) -> tuple[Context, Page[ContextItem]]:
        """A context and its items, from the position behind `after`, as many as there is room for; and where to go on.

        Raises `NotFound`, as `visible` does.
        """
        require(principal, READ)
        context, found = await self._database.read(
            principal.tenant_id, lambda tx: tx.contexts.find_with_items(context_id, after, room)
        )
        context = shown(principal, context_id, context)
        items = await self.whole(principal.tenant_id, found) if room.texts is Texts.WHOLE else found
        more = str(items[-1].position) if items and items[-1].position < context.item_count else None
        return context, Page(items=tuple(items), next_cursor=more)

    async def whole(self, tenant_id: UUID, items: Sequence[ContextItem]) -> list[ContextItem]:
        """The items with the whole of their texts, of which a row may hold the beginning only."""
        kept = {
            item.position: item.blob_id
            for item in items
            if item.blob_id is not None and item.attachment is None
        }
        texts = await self.kept_texts(tenant_id, kept)
        return [
            item.model_copy(update={"text": texts[item.position]}) if item.position in kept else item
            for item in items
        ]

    async def kept_texts(self, tenant_id: UUID, blob_ids: Mapping[int, UUID]) -> dict[int, str]:
        """The texts, by position, that are kept apart from their rows."""
        texts = await self._blobs.read_all(tenant_id, blob_ids.values()) if blob_ids else {}
        return {position: texts[blob_id].decode() for position, blob_id in blob_ids.items()}

    async def append(
        self, principal: Principal, context_id: UUID, items: Sequence[NewItem]
    ) -> list[ContextItem]:
        """Add items at the end, in order, and index them; they can be found by their words once this returns."""
        require(principal, WRITE)
        if any(_is_large(item.text) for item in items):
            await self.require_writable(principal, context_id)
        counted = [await self.prepared(principal.tenant_id, item) for item in items]
        return await self.append_prepared(principal, context_id, counted)

    async def append_prepared(
        self, principal: Principal, context_id: UUID, items: Sequence[CountedItem], *, recorded: bool = False
    ) -> list[ContextItem]:
        """`append`, for items that have what is large kept apart already, and where they are `recorded` elsewhere."""
        require(principal, WRITE)
        record = None if recorded else appended(principal, context_id)
        beside = beside_items(principal.tenant_id, context_id, items, embeds=self._embeds, record=record)
        try:
            return await self._append(principal, context_id, items, beside, unless_above=self._compact_above)
        except NotFound:
            return await self._append_to_long(principal, context_id, items, beside)

    async def _append(
        self,
        principal: Principal,
        context_id: UUID,
        items: Sequence[CountedItem],
        beside: Beside,
        *,
        unless_above: int | None = None,
    ) -> list[ContextItem]:
        owner = None if principal.may(ANY_OWNER) else principal.id
        added = await self._database.write(
            principal.tenant_id,
            lambda tx: tx.contexts.append(
                context_id, items, owner_id=owner, unless_above=unless_above, beside=beside
            ),
        )
        await self.tell(principal.tenant_id, context_id)
        return added

    async def _append_to_long(
        self, principal: Principal, context_id: UUID, items: Sequence[CountedItem], beside: Beside
    ) -> list[ContextItem]:
        """Append, and ask in the same transaction for a compaction. Raises `NotFound`, as `visible` does."""
        async with self._database.transaction(principal.tenant_id) as tx:
            context = await visible(tx, principal, context_id)
            added = await tx.contexts.append(context_id, items, beside=beside)
            await self.sum_up_if_long(tx, context, sum(i.tokens for i in items if i.covers is None))
        await self.tell(principal.tenant_id, context_id)
        return added

    async def attach(
        self, principal: Principal, context_id: UUID, file: Upload, text: str = ""
    ) -> ContextItem:
        """Append a file, found by its name and the text that is said of it. Raises `PayloadTooLarge`."""
        await self.require_writable(principal, context_id)
        item = NewItem(text=f"{file.name}\n{text}".strip())
        prepared = await self.prepared(principal.tenant_id, item, file)
        [attached] = await self.append_prepared(principal, context_id, [prepared])
        return attached

    async def attachment(
        self, principal: Principal, context_id: UUID, position: int
    ) -> tuple[Attachment, bytes]:
        """A file with its bytes; raises `NotFound` where the item has none."""
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            await visible(tx, principal, context_id)
            found = await tx.contexts.at(context_id, [position])
        if not found or found[0].attachment is None or found[0].blob_id is None:
            raise NotFound(f"item {position} of context {context_id} has no attachment")
        return found[0].attachment, await self._blobs.read(principal.tenant_id, found[0].blob_id)

    async def prepared(self, tenant_id: UUID, item: NewItem, file: Upload | None = None) -> CountedItem:
        """The item, counted, with its file, or a text that is large, kept apart. Raises `PayloadTooLarge`."""
        counted = CountedItem(new_id(), item, count_tokens(item.text))
        if file is not None:
            if len(file.body) > MAX_ATTACHMENT:
                raise PayloadTooLarge(f"an attachment has at most {MAX_ATTACHMENT} bytes")
            kept = await self._blobs.keep(tenant_id, file.body)
            return replace(counted, blob_id=kept, attachment=file.described())
        if not _is_large(item.text):
            return counted
        blob_id = await self._blobs.keep(tenant_id, item.text.encode())
        return replace(counted, blob_id=blob_id, head=item.text[:HEAD])

    async def replace(self, principal: Principal, context_id: UUID, draft: ContextDraft) -> Context:
        """Say anew what is said of the context; its items stay. Raises `NotFound`."""
        require(principal, WRITE)
        async with self._database.transaction(principal.tenant_id) as tx:
            await tx.contexts.lock(context_id)
            before = await visible(tx, principal, context_id)
            if draft.expires_at != before.expires_at:
                _require_ahead(draft.expires_at)
            replaced = await tx.contexts.replace(context_id, draft)
            if replaced is None:
                raise NotFound(f"there is no context {context_id}")
            await note_change(tx, principal, before, replaced)
        await self.tell(principal.tenant_id, context_id)
        return replaced

    async def expire_at(self, principal: Principal, context_id: UUID, moment: datetime | None) -> Context:
        """Let a context end by itself, or with None never; it is not there from then on, and removed within the hour.

        Raises `InvalidInput` for a moment that is past: who wants it gone deletes it.
        """
        require(principal, WRITE)
        _require_ahead(moment)
        async with self._database.transaction(principal.tenant_id) as tx:
            await tx.contexts.lock(context_id)
            before = await visible(tx, principal, context_id)
            after = before.model_copy(update={"expires_at": moment})
            await tx.contexts.expire_at(context_id, moment)
            await note_change(tx, principal, before, after)
        await self.tell(principal.tenant_id, context_id)
        return after

    async def compact(self, principal: Principal, context_id: UUID, *, keep_tokens: int) -> Context:
        """Have the context summed up in the background, but for the latest `keep_tokens`; it is, even where it is short."""
        require(principal, WRITE)
        async with self._database.transaction(principal.tenant_id) as tx:
            await visible(tx, principal, context_id)
            await request_compaction(tx, context_id, keep_tokens=keep_tokens, above=None)
            await note_deed(tx, principal, "compact", context_id, {"keep_tokens": keep_tokens})
            return await visible(tx, principal, context_id)

    async def pin(self, principal: Principal, context_id: UUID, position: int, *, pinned: bool) -> None:
        """Keep an item in every window of the context, or let it go. Raises `NotFound` where there is none at the position."""
        require(principal, WRITE)
        async with self._database.transaction(principal.tenant_id) as tx:
            await visible(tx, principal, context_id)
            if not await tx.contexts.pin(context_id, position, pinned):
                raise NotFound(f"there is no item {position} in context {context_id}")
            await note_deed(tx, principal, "pin", context_id, {"position": position, "pinned": pinned})
        await self.tell(principal.tenant_id, context_id)

    async def summarised(
        self, principal: Principal, context_id: UUID, text: str, *, covers: tuple[int, int], made_by: str
    ) -> ContextItem:
        """Append a summary of the items at the positions `covers`."""
        require(principal, WRITE)
        item = summary_item(text, covers, made_by)
        record = appended(principal, context_id)
        beside = beside_items(principal.tenant_id, context_id, [item], embeds=self._embeds, record=record)
        [summary] = await self._append(principal, context_id, [item], beside)
        return summary

    async def delete(self, principal: Principal, context_id: UUID) -> None:
        """Remove a context with its items, what was indexed of them, and, by the worker, what was kept apart.

        Of one that holds much the worker removes all; it is not there from now on, either.
        """
        require(principal, WRITE)
        async with self._database.transaction(principal.tenant_id) as tx:
            before = await visible(tx, principal, context_id)
            await remove(tx, context_id)
            await note_deed(tx, principal, "delete", context_id, {"before": said_of(before)})
        await self.tell(principal.tenant_id, context_id)

    async def tell(self, tenant_id: UUID, context_id: UUID) -> None:
        """Tell those who watch the context that it has changed."""
        if self._changes is not None:
            await self._changes.of_resource(tenant_id, context_uri(context_id))

    async def sum_up_if_long(self, tx: Transaction, context: Context, added: int) -> None:
        """Ask for it where nobody is at it: the row, which this transaction has locked, knows. `context` is as it was before."""
        above = self._compact_above if context.compact_above is None else context.compact_above
        if above and context.pending_tokens + added > above:
            await request_compaction(tx, context.id, keep_tokens=above // KEPT_PART, above=above)


def _listed_owner(principal: Principal) -> UUID | None:
    """Whose contexts the principal sees in a list; None: all of its tenant's. Raises `PermissionMissing`."""
    require(principal, READ)
    return None if principal.may(ANY_OWNER) else principal.id


def _require_ahead(moment: datetime | None) -> None:
    if moment is not None and moment <= utc_now():
        raise InvalidInput("expires_at: is past", (Violation("expires_at", "is past"),))


def _is_large(text: str) -> bool:
    return len(text) > LARGE // 4 and len(text.encode()) > LARGE


def require(principal: Principal, permission: str) -> None:
    """Raise `PermissionMissing` unless the principal has the permission."""
    if not principal.may(permission):
        raise PermissionMissing(principal.name, permission)


async def visible(tx: Transaction, principal: Principal, context_id: UUID) -> Context:
    """The context; raises `NotFound` when there is none, or it is another's."""
    return shown(principal, context_id, await tx.contexts.find(context_id))


def shown(principal: Principal, context_id: UUID, context: Context | None) -> Context:
    """What was found of that id; raises `NotFound` when that is nothing, or another's."""
    if context is None or (context.owner_id != principal.id and not principal.may(ANY_OWNER)):
        raise NotFound(f"there is no context {context_id}")
    return context
