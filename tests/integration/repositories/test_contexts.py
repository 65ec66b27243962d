"""Contexts and their items, against PostgreSQL."""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from uuid import UUID

from devops_mcp.models.base import JsonObject
from devops_mcp.models.contexts import ContextItem, ItemKind, ItemsWanted, NewItem
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.pages import Order
from devops_mcp.models.passages import NewPassage, PassageKind
from devops_mcp.operations.blobs import BlobStore
from devops_mcp.operations.contexts import EVERY
from devops_mcp.repositories.context_appends import CountedItem
from devops_mcp.repositories.context_pages import Room, Texts
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.transaction import Transaction

TENANT = DEFAULT_TENANT_ID
ME, OTHER = new_id(), new_id()
WRITERS = 32
T = TypeVar("T")


async def a_context(database: Database, *, owner: UUID = ME, title: str = "investigation") -> UUID:
    async with database.transaction(TENANT) as tx:
        return (await tx.contexts.create(new_id(), owner, title, {"ticket": 7})).id


async def append(database: Database, context: UUID, texts: Sequence[str]) -> list[ContextItem]:
    items = [CountedItem(new_id(), NewItem(text=text), tokens=len(text)) for text in texts]
    async with database.transaction(TENANT) as tx:
        return await tx.contexts.append(context, items)


async def items_of(
    database: Database, context: UUID, *, after: int = 0, limit: int = 1000
) -> list[ContextItem]:
    async with database.transaction(TENANT) as tx:
        return await tx.contexts.items(context, after, limit)


async def waits_of(tx: Transaction, work: Awaitable[T]) -> tuple[T, int]:
    """What comes of the work, and how often it waited for the server."""
    connection, count = tx.connection, 0
    wait = connection.wait

    async def counted(*args: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        return await wait(*args, **options)

    connection.wait = counted
    try:
        return await work, count
    finally:
        del connection.wait


async def test_a_context_comes_back_as_it_was_created(database):
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        id_ = await a_context(opened, title="why did it fail?")
        async with opened.transaction(TENANT) as tx:
            found = await tx.contexts.find(id_)
    assert found is not None
    assert (found.tenant_id, found.owner_id, found.title, found.metadata) == (
        TENANT,
        ME,
        "why did it fail?",
        {"ticket": 7},
    )
    assert (found.item_count, found.token_count) == (0, 0)


async def test_an_unknown_context_is_none(database):
    async with (
        open_database(database.app_url, pool_size=2, application="test") as opened,
        opened.transaction(TENANT) as tx,
    ):
        assert await tx.contexts.find(new_id()) is None
        assert not await tx.contexts.delete(new_id())


async def test_an_item_comes_back_with_all_that_was_said_of_it(database):
    item = NewItem(
        kind=ItemKind.MESSAGE, role="assistant", text="größer\n\t\U0001f600", metadata={"a": [1, None]}
    )
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        context = await a_context(opened)
        async with opened.transaction(TENANT) as tx:
            [written] = await tx.contexts.append(context, [CountedItem(new_id(), item, tokens=9)])
        [read] = await items_of(opened, context)
    assert read == written
    assert (read.kind, read.role, read.text, read.metadata) == (
        item.kind,
        item.role,
        item.text,
        item.metadata,
    )
    assert (read.position, read.tokens) == (1, 9)


async def test_32_writers_at_once_lose_nothing_and_each_keeps_its_order(database):
    async with open_database(database.app_url, pool_size=8, application="test") as opened:
        context = await a_context(opened)
        written = await asyncio.gather(
            *(append(opened, context, [f"{writer}:{n}" for n in range(3)]) for writer in range(WRITERS))
        )
        stored = await items_of(opened, context)
        async with opened.transaction(TENANT) as tx:
            found = await tx.contexts.find(context)
    assert [item.position for item in stored] == list(range(1, 3 * WRITERS + 1))
    assert {item.id for item in stored} == {item.id for items in written for item in items}
    by_position = {item.position: item.text for item in stored}
    for writer, items in enumerate(written):
        first = items[0].position
        assert [by_position[first + n] for n in range(3)] == [f"{writer}:{n}" for n in range(3)]
    assert found is not None
    assert found.item_count == 3 * WRITERS
    assert found.token_count == sum(len(item.text) for item in stored)


async def test_a_writer_that_fails_leaves_no_gap(database):
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        context = await a_context(opened)
        await append(opened, context, ["first"])
        with suppress(LookupError):
            async with opened.transaction(TENANT) as tx:
                await tx.contexts.append(context, [CountedItem(new_id(), NewItem(text="lost"), tokens=1)])
                raise LookupError("the request fails after it wrote")
        await append(opened, context, ["second"])
        stored = await items_of(opened, context)
    assert [(item.position, item.text) for item in stored] == [(1, "first"), (2, "second")]


async def test_items_are_read_on_from_a_position(database):
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        context = await a_context(opened)
        await append(opened, context, ["a", "b", "c", "d"])
        page = await items_of(opened, context, after=1, limit=2)
        rest = await items_of(opened, context, after=page[-1].position)
    assert [item.text for item in page] == ["b", "c"]
    assert [item.text for item in rest] == ["d"]


async def test_pages_are_newest_first_and_of_one_owner_unless_all_are_wanted(database):
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        mine = [await a_context(opened) for _ in range(3)]
        theirs = await a_context(opened, owner=OTHER)
        async with opened.transaction(TENANT) as tx:
            first = [context.id for context in await tx.contexts.page(ME, EVERY, Order(), 2)]
            second = [
                context.id for context in await tx.contexts.page(ME, EVERY, Order(after_id=first[-1]), 2)
            ]
            everyones = [context.id for context in await tx.contexts.page(None, EVERY, Order(), 10)]
    assert (first, second) == ([mine[2], mine[1]], [mine[0]])
    assert everyones == [theirs, *reversed(mine)]


async def test_deleting_a_context_takes_its_items_and_passages_along(database):
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        context = await a_context(opened)
        [item] = await append(opened, context, ["the certificate had expired"])
        passage = NewPassage(
            kind=PassageKind.CONTEXT_ITEM,
            source_id=item.id,
            context_id=context,
            title="investigation",
            text=item.text,
            uri=f"devops://contexts/{context}",
            occurred_at=item.created_at,
        )
        async with opened.transaction(TENANT) as tx:
            added = await tx.passages.add([(new_id(), passage)], owner_id=ME)
            assert len(await tx.passages.texts(added)) == 1
        async with opened.transaction(TENANT) as tx:
            assert await tx.contexts.delete(context)
        async with opened.transaction(TENANT) as tx:
            assert await tx.contexts.find(context) is None
            assert await tx.contexts.items(context, 0, 10) == []
            assert await tx.passages.texts(added) == []


async def test_a_context_is_read_with_its_items_in_one_round_trip(database):
    async with open_database(database.app_url, pool_size=1, application="test") as opened:
        id_ = await a_context(opened)
        await append(opened, id_, ["a", "b", "c"])
        (context, items), waits = await opened.read(
            TENANT, lambda tx: waits_of(tx, tx.contexts.find_with_items(id_, 1, Room(10, 1_000_000)))
        )
        nothing = await opened.read(
            TENANT, lambda tx: tx.contexts.find_with_items(new_id(), 0, Room(10, 1_000_000))
        )
    assert context is not None
    assert (context.id, context.item_count) == (id_, 3)
    assert [item.text for item in items] == ["b", "c"]
    assert nothing == (None, [])
    assert waits == 1


async def fitting(
    database: Database, context: UUID, room: Room, *, after: int = 0
) -> list[tuple[int, int, JsonObject]]:
    """Positions, lengths of texts and metadata of the items that there is room for."""
    async with database.transaction(TENANT) as tx:
        found, items = await tx.contexts.find_with_items(context, after, room)
    assert found is not None
    return [(item.position, len(item.text), item.metadata) for item in items]


async def test_items_are_read_as_far_as_there_is_room_and_one_at_least(database):
    """By what their texts have, wherever these are kept."""
    noted: JsonObject = {str(n): n for n in range(100)}  # some 1,700 bytes as they are stored
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        context, kept = await a_context(opened), await BlobStore(opened).keep(TENANT, b"z" * 50_000)
        items = [CountedItem(new_id(), NewItem(text="x" * 1_000, metadata=noted), 1) for _ in range(6)]
        items[3] = CountedItem(new_id(), NewItem(text="z" * 50_000), 1, blob_id=kept, head="z" * 10)
        async with opened.transaction(TENANT) as tx:
            await tx.contexts.append(context, items)
        bare = [(position, 1_000, {}) for position in (1, 2, 3)]
        large = (4, 10, {})
        assert await fitting(opened, context, Room(6, 5_000)) == [(1, 1_000, noted), (2, 1_000, noted)]
        assert await fitting(opened, context, Room(6, 5_000, metadata=False)) == bare
        assert await fitting(opened, context, Room(2, 5_000, metadata=False)) == bare[:2]
        assert await fitting(opened, context, Room(6, 1, metadata=False)) == bare[:1]
        assert await fitting(opened, context, Room(6, 5_000), after=3) == [large]
        assert len(await fitting(opened, context, Room(6, 5_000, Texts.HEADS, metadata=False))) == 5
        without = Room(6, 5_000, Texts.NONE, metadata=False)
        assert await fitting(opened, context, without) == [(position, 0, {}) for position in range(1, 7)]
        assert await fitting(opened, context, Room(6, 5_000), after=6) == []


async def test_items_of_a_kind_are_read_from_either_end_as_far_as_there_is_room(database):
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        context = await a_context(opened)
        await append(opened, context, ["x" * 1_000] * 5)
        wanted, room = ItemsWanted(kind=ItemKind.NOTE, sort="-position"), Room(10, 3_000)
        async with opened.transaction(TENANT) as tx:
            first = await tx.contexts.items_among(context, wanted, None, room)
            rest = await tx.contexts.items_among(context, wanted, 4, Room(10, 10_000))
            none = await tx.contexts.items_among(context, ItemsWanted(role="user"), None, room)
    assert ([item.position for item in first[0]], first[1]) == ([5, 4], True)
    assert ([item.position for item in rest[0]], rest[1]) == ([3, 2, 1], False)
    assert none == ([], False)
