"""Snapshots, forks, and contexts as files: JSON Lines out and in, a part at a time, however long they are."""

import base64
import binascii
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Literal, TypeVar
from uuid import UUID

from pydantic import Field, JsonValue, RootModel, ValidationError

from devops_mcp.models.base import JsonObject, Metadata, Model
from devops_mcp.models.blobs import MAX_ATTACHMENT
from devops_mcp.models.contexts import Context, ContextItem, ContextSnapshot, ItemKind, NewItem, context_uri
from devops_mcp.models.errors import InvalidInput, NotFound, PlatformError, Violation
from devops_mcp.models.ids import new_id
from devops_mcp.models.pages import Order, Page
from devops_mcp.models.principals import Principal
from devops_mcp.models.violations import refused
from devops_mcp.operations.begun_contexts import BegunContexts
from devops_mcp.operations.blobs import BlobStore, Upload
from devops_mcp.operations.context_deeds import note_deed, said_of
from devops_mcp.operations.contexts import (
    READ,
    WRITE,
    ContextService,
    require,
    visible,
)
from devops_mcp.operations.item_indexing import file_requests, request_vectors
from devops_mcp.repositories.context_appends import CountedItem
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.transaction import Transaction

_PAGE = 100
_HELD = 4_000_000
"""Characters of lines that are held until they are written: a line with a file may have 35 million, and a batch a hundred lines."""
_COPIED = 1_000
"""Items that one statement copies."""


ModelT = TypeVar("ModelT", bound=Model)


class ContextHead(Model):
    """The first line of a context's file. `items` says how many lines follow, so that a file that was cut is known as such."""

    type: Literal["context"] = "context"
    format: Literal[1] = 1
    title: str = Field(min_length=1, max_length=200)
    metadata: Metadata = Field(default_factory=dict)
    items: int | None = Field(default=None, ge=0)


class FileOfItem(Model):
    """An attachment with its bytes, base64."""

    name: str = Field(min_length=1, max_length=255, pattern=r"^[^/\\\x00-\x1f]+$")
    media_type: str = Field(max_length=200)
    data: str = Field(max_length=MAX_ATTACHMENT * 4 // 3 + 4)


class ItemLine(Model):
    """Each further line: an item. Lines are in the order of the items, from position 1 on."""

    type: Literal["item"] = "item"
    kind: ItemKind
    role: str | None = Field(default=None, max_length=40)
    text: str = Field(min_length=1, max_length=200_000)
    metadata: Metadata = Field(default_factory=dict)
    pinned: bool = False
    covers_from: int | None = Field(default=None, ge=1)
    covers_to: int | None = Field(default=None, ge=1)
    file: FileOfItem | None = None
    created_at: datetime | None = None


class ContextLine(RootModel[ContextHead | ItemLine]):
    """A line of a context's file: first the head, then an item each."""


class ContextCopyService:
    """Of contexts that the principal may read; the copies are its own."""

    def __init__(
        self, database: Database, contexts: ContextService, blobs: BlobStore, *, embeds: bool
    ) -> None:
        self._database = database
        self._contexts = contexts
        self._begun = BegunContexts(database, contexts, embeds=embeds)
        self._blobs = blobs
        self._embeds = embeds

    async def snapshot(self, principal: Principal, context_id: UUID, name: str) -> ContextSnapshot:
        """Name how the context is now. Raises `Conflict` for a name that it has given."""
        require(principal, WRITE)
        async with self._database.transaction(principal.tenant_id) as tx:
            context = await visible(tx, principal, context_id)
            made = await tx.context_copies.add_snapshot(new_id(), context_id, name, context.item_count)
            await note_deed(tx, principal, "snapshot", context_id, {"name": name, "position": made.position})
        return made

    async def delete_snapshot(self, principal: Principal, context_id: UUID, snapshot_id: UUID) -> None:
        """Forget how the context was; what was forked from it stays. Raises `NotFound`."""
        require(principal, WRITE)
        async with self._database.transaction(principal.tenant_id) as tx:
            await visible(tx, principal, context_id)
            gone = await _snapshot(tx, context_id, snapshot_id)
            await tx.context_copies.delete_snapshot(context_id, snapshot_id)
            about: JsonObject = {"name": gone.name, "position": gone.position}
            await note_deed(tx, principal, "forget_snapshot", context_id, about)

    async def snapshots(
        self, principal: Principal, context_id: UUID, *, order: Order, limit: int
    ) -> Page[ContextSnapshot]:
        """The context's snapshots."""
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            await visible(tx, principal, context_id)
            found = await tx.context_copies.snapshots(context_id, order, limit + 1)
        return order.page(found, limit)

    async def get_snapshot(
        self, principal: Principal, context_id: UUID, snapshot_id: UUID
    ) -> ContextSnapshot:
        """Raises `NotFound`."""
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            await visible(tx, principal, context_id)
            return await _snapshot(tx, context_id, snapshot_id)

    async def fork(
        self,
        principal: Principal,
        context_id: UUID,
        *,
        title: str | None = None,
        position: int | None = None,
        snapshot_id: UUID | None = None,
    ) -> Context:
        """A new context of the principal's that begins as this one was, at a position or a snapshot; else as it is.

        It is whole, and found by its words, once this returns. Raises `NotFound`; `InvalidInput` for both or a position behind the end.
        """
        require(principal, READ)
        require(principal, WRITE)
        async with self._database.transaction(principal.tenant_id) as tx:
            source = await visible(tx, principal, context_id)
            upto = await _forking_point(tx, source, position, snapshot_id)
            target = await tx.contexts.create(
                new_id(), principal.id, title or source.title, source.metadata, source.compact_above
            )
            await self._copy(tx, source.id, target.id, upto)
            about: JsonObject = {"of": str(source.id), "position": upto, "after": said_of(target)}
            await note_deed(tx, principal, "fork", target.id, about)
            return await visible(tx, principal, target.id)

    async def export(self, principal: Principal, context_id: UUID) -> AsyncIterator[ContextLine]:
        """The lines of the context's file, as it is now; what is appended meanwhile is left out. Raises `NotFound` at once."""
        context = await self._contexts.get(principal, context_id)
        return self._lines(principal, context)

    async def take_in(self, principal: Principal, lines: AsyncIterator[JsonValue]) -> Context:
        """A new context from the lines of a file, which is there for others once it is whole. Raises `InvalidInput`, naming the line.

        Where it is not whole, for whatever reason, there is none; what a process that died has left of one upkeep removes.
        """
        require(principal, WRITE)
        head = _read(ContextHead, await anext(lines, None), 1)
        context_id = await self._begun.begin(principal, head.title, head.metadata)
        try:
            count = await self._take_in_items(principal, context_id, lines)
            _require_whole(head, count)
            return await self._begun.complete(principal, context_id)
        except PlatformError:
            await self._begun.abandon(principal, context_id)
            raise

    async def _copy(self, tx: Transaction, source: UUID, target: UUID, upto: int) -> None:
        for after in range(0, upto, _COPIED):
            to = min(after + _COPIED, upto)
            await tx.context_copies.copy_items(source, target, after, to)
            passages = await tx.context_copies.copy_passages(source, target, context_uri(target), after, to)
            if self._embeds:
                await request_vectors(tx, passages)
        if files := file_requests(tx.tenant_id, await tx.attached_files.within(target)):
            await tx.outbox.post(files)
        await tx.context_copies.finish(source, target, upto)

    async def _lines(self, principal: Principal, context: Context) -> AsyncIterator[ContextLine]:
        yield ContextLine(
            ContextHead(title=context.title, metadata=context.metadata, items=context.item_count)
        )
        after = 0
        while after < context.item_count:
            limit = min(_PAGE, context.item_count - after)
            page = await self._contexts.items(principal, context.id, after=after, limit=limit)
            if not page.items:
                return
            for item in page.items:
                yield ContextLine(await self._item_line(principal, item))
            after = page.items[-1].position

    async def _item_line(self, principal: Principal, item: ContextItem) -> ItemLine:
        file = None
        if item.attachment is not None and item.blob_id is not None:
            body = await self._blobs.read(principal.tenant_id, item.blob_id)
            file = FileOfItem(
                name=item.attachment.name,
                media_type=item.attachment.media_type,
                data=base64.b64encode(body).decode(),
            )
        told = item.model_dump(
            include={"kind", "role", "text", "metadata", "pinned", "covers_from", "covers_to", "created_at"}
        )
        return ItemLine(**told, file=file)

    async def _take_in_items(
        self, principal: Principal, context_id: UUID, lines: AsyncIterator[JsonValue]
    ) -> int:
        """How many there were."""
        number, held, batch = 1, 0, list[ItemLine]()
        async for raw in lines:
            number += 1
            line = _read(ItemLine, raw, number)
            _check_span(line, number)
            batch.append(line)
            held += len(line.text) + (len(line.file.data) if line.file else 0)
            if len(batch) == _PAGE or held > _HELD:
                await self._append(principal, context_id, batch)
                held, batch = 0, []
        if batch:
            await self._append(principal, context_id, batch)
        return number - 1

    async def _append(self, principal: Principal, context_id: UUID, batch: Sequence[ItemLine]) -> None:
        items = [await self._prepared(principal.tenant_id, line) for line in batch]
        await self._begun.append(principal, context_id, items)

    async def _prepared(self, tenant_id: UUID, line: ItemLine) -> CountedItem:
        item = NewItem(
            kind=line.kind, role=line.role, text=line.text, metadata=line.metadata, pinned=line.pinned
        )
        file = Upload(line.file.name, line.file.media_type, _bytes(line.file)) if line.file else None
        covers = (line.covers_from, line.covers_to) if line.covers_from and line.covers_to else None
        prepared = await self._contexts.prepared(tenant_id, item, file)
        return replace(prepared, covers=covers, created_at=line.created_at)


async def _forking_point(
    tx: Transaction, source: Context, position: int | None, snapshot_id: UUID | None
) -> int:
    if snapshot_id is not None and position is not None:
        problem = "the fork begins at a position or at a snapshot, not at both"
        raise InvalidInput(problem, (Violation("position", "goes without snapshot_id only"),))
    if snapshot_id is not None:
        return (await _snapshot(tx, source.id, snapshot_id)).position
    if position is not None and position > source.item_count:
        raise InvalidInput(
            f"the context ends at {source.item_count}", (Violation("position", "is behind the last item"),)
        )
    return source.item_count if position is None else position


async def _snapshot(tx: Transaction, context_id: UUID, snapshot_id: UUID) -> ContextSnapshot:
    found = await tx.context_copies.snapshot(context_id, snapshot_id)
    if found is None:
        raise NotFound(f"there is no snapshot {snapshot_id}")
    return found


def _read(model: type[ModelT], raw: object, number: int) -> ModelT:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise refused(error, f"line {number}", most=5) from None


def _require_whole(head: ContextHead, count: int) -> None:
    if head.items not in (None, count):
        problem = f"says {head.items} items, and there are {count}; the file was cut or added to"
        raise InvalidInput(f"line 1: {problem}", (Violation("line 1", problem),))


def _check_span(line: ItemLine, number: int) -> None:
    """A summary stands for items before it; the first item is on line 2."""
    first, last = line.covers_from, line.covers_to
    if (first is None) != (last is None) or (first and last and not first <= last < number - 1):
        problem = "covers_from and covers_to must name items before this one"
        raise InvalidInput(f"line {number}: {problem}", (Violation(f"line {number}", problem),))


def _bytes(file: FileOfItem) -> bytes:
    try:
        return base64.b64decode(file.data, validate=True)
    except binascii.Error:
        raise InvalidInput(f"the data of {file.name!r} is not base64") from None
