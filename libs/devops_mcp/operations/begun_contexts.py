"""Contexts that are written a part at a time and are there when they are whole."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from devops_mcp.models.base import JsonObject
from devops_mcp.models.contexts import Context
from devops_mcp.models.errors import Conflict, NotFound
from devops_mcp.models.ids import new_id
from devops_mcp.models.principals import Principal
from devops_mcp.operations.context_deeds import appended, note_deed, said_of
from devops_mcp.operations.context_removal import remove
from devops_mcp.operations.contexts import WRITE, ContextService, require
from devops_mcp.operations.item_indexing import beside_items
from devops_mcp.repositories.context_appends import CountedItem
from devops_mcp.repositories.database import Database

BEGUN_FOR = timedelta(hours=1)
"""Longer than any request takes between two parts of a context that it writes."""


class BegunContexts:
    """The principal's own. Nobody is shown one before `complete`; one that is left alone for `BEGUN_FOR` is removed."""

    def __init__(self, database: Database, contexts: ContextService, *, embeds: bool) -> None:
        self._database = database
        self._contexts = contexts
        self._embeds = embeds

    async def begin(self, principal: Principal, title: str, metadata: JsonObject) -> UUID:
        require(principal, WRITE)
        context_id = new_id()
        async with self._database.transaction(principal.tenant_id) as tx:
            await tx.contexts.begin(context_id, principal.id, title, metadata, BEGUN_FOR)
            about: JsonObject = {"title": title, "metadata": metadata}
            await note_deed(tx, principal, "begin", context_id, {"after": about})
        return context_id

    async def append(self, principal: Principal, context_id: UUID, items: Sequence[CountedItem]) -> None:
        """Add items at the end, in order. Raises `Conflict` where it was left alone for too long."""
        record = appended(principal, context_id)
        beside = beside_items(principal.tenant_id, context_id, items, embeds=self._embeds, record=record)
        try:
            await self._database.write(
                principal.tenant_id,
                lambda tx: tx.contexts.append(
                    context_id, items, owner_id=principal.id, beside=beside, patience=BEGUN_FOR
                ),
            )
        except NotFound:
            raise _left(context_id) from None

    async def complete(self, principal: Principal, context_id: UUID) -> Context:
        """Let it be there, with all that was appended to it. Raises `Conflict` where it was left alone for too long."""
        async with self._database.transaction(principal.tenant_id) as tx:
            made = await tx.contexts.complete(context_id, await self._contexts.end(tx))
            if made is None:
                raise _left(context_id)
            await self._contexts.sum_up_if_long(tx, made, 0)
            await note_deed(tx, principal, "create", context_id, {"after": said_of(made)})
        await self._contexts.tell(principal.tenant_id, context_id)
        return made

    async def abandon(self, principal: Principal, context_id: UUID) -> None:
        """Remove what will not be completed."""
        async with self._database.transaction(principal.tenant_id) as tx:
            if await remove(tx, context_id):
                await note_deed(tx, principal, "abandon", context_id, {})


def _left(context_id: UUID) -> Conflict:
    return Conflict(f"context {context_id} was left unfinished for too long and is removed; begin again")
