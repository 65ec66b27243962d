"""Large texts, attachments and payloads kept apart from their rows: in PostgreSQL, and in an S3 (moto's server)."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import pytest

from devops_mcp.events.messages import MESSAGE, BlobsReleased
from devops_mcp.models.base import utc_now
from devops_mcp.models.contexts import NewItem
from devops_mcp.models.errors import Conflict, Internal, NotFound, Unavailable
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.blobs import UNCLAIMED_FOR, BlobStore, Upload
from devops_mcp.operations.contexts import HEAD, LARGE, ContextService
from devops_mcp.operations.events import LARGE_PAYLOAD, EventIntake
from devops_mcp.outbound.objects import open_objects
from devops_mcp.repositories.blobs import Blobs
from devops_mcp.repositories.context_appends import CountedItem
from devops_mcp.repositories.database import Database, open_database
from support.s3 import BUCKET, client_of, keys_in, running_s3
from support.webhooks import ORIGIN, SECRET, SOURCE, delivery, failed_build

TENANT = DEFAULT_TENANT_ID
ME = Principal(id=new_id(), tenant_id=TENANT, kind=PrincipalKind.AGENT, name="me", grants=("*",))
LONG = "the gateway answered slowly; größer. " * 2_000
FILE = bytes(range(256)) * 1_000
LATER = UNCLAIMED_FOR + timedelta(minutes=5)


@dataclass
class Bench:
    """Contexts over a store, with the worker's rights."""

    database: Database
    blobs: BlobStore
    contexts: ContextService
    s3: str | None

    async def kept(self) -> int:
        """How many blobs have bytes somewhere."""
        if self.s3 is not None:
            return len(keys_in(self.s3))
        async with self.database.transaction(TENANT) as tx:
            ids = await tx.blobs.forgotten(utc_now() + LATER, 1_000)
            return sum([await tx.blobs.read(id_) is not None for id_ in ids])

    async def released(self) -> list[UUID]:
        """Let the worker do what the outbox asks for."""
        async with self.database.relaying() as relay:
            messages = [MESSAGE.validate_json(row.message) for row in await relay.take(100)]
        ids = [id_ for message in messages if isinstance(message, BlobsReleased) for id_ in message.blob_ids]
        await self.blobs.remove(TENANT, ids)
        return ids


@contextmanager
def store_of(kind: str) -> Iterator[str | None]:
    with running_s3() if kind == "s3" else nullcontext() as url:
        yield url


@asynccontextmanager
async def a_bench(database, s3: str | None) -> AsyncIterator[Bench]:
    async with open_database(database.worker_url, pool_size=4, application="worker") as opened:
        if s3 is None:
            yield _bench(opened, BlobStore(opened), None)
            return
        async with open_objects(BUCKET, region="us-east-1", endpoint_url=s3) as objects:
            yield _bench(opened, BlobStore(opened, objects), s3)


def _bench(database: Database, blobs: BlobStore, s3: str | None) -> Bench:
    return Bench(database, blobs, ContextService(database, embeds=False, blobs=blobs), s3)


@pytest.fixture(params=["database", "s3"])
async def bench(request, database) -> AsyncIterator[Bench]:
    with store_of(request.param) as s3:
        async with a_bench(database, s3) as opened:
            yield opened


async def test_a_long_text_is_read_as_it_was_written_and_only_its_beginning_is_in_the_row(bench):
    assert len(LONG.encode()) > LARGE
    context = await bench.contexts.create(ME, "long")
    written = await bench.contexts.append(ME, context.id, [NewItem(text="short"), NewItem(text=LONG)])
    read = await bench.contexts.items(ME, context.id, after=0, limit=10)
    async with bench.database.transaction(TENANT) as tx:
        rows = await tx.contexts.items(context.id, 0, 10)
    assert [item.text for item in read.items] == [item.text for item in written] == ["short", LONG]
    assert [row.text for row in rows] == ["short", LONG[:HEAD]]
    assert "blob_id" not in read.items[1].model_dump()


async def test_a_file_comes_back_byte_for_byte_and_leaves_with_its_context(bench):
    context = await bench.contexts.create(ME, "files")
    item = await bench.contexts.attach(
        ME, context.id, Upload("heap.bin", "application/x-heap", FILE), "the heap at noon"
    )
    attachment, body = await bench.contexts.attachment(ME, context.id, item.position)
    assert body == FILE
    assert (attachment.name, attachment.size) == ("heap.bin", len(FILE))
    assert attachment.sha256 == hashlib.sha256(FILE).hexdigest()
    await bench.contexts.delete(ME, context.id)
    assert await bench.kept() == 1, "the worker has not come to it"
    [blob_id] = await bench.released()
    assert await bench.kept() == 0
    with pytest.raises(NotFound):
        await bench.blobs.read(TENANT, blob_id)


async def test_a_message_that_comes_again_removes_nothing_more_and_what_is_referred_to_stays(bench):
    context = await bench.contexts.create(ME, "two")
    await bench.contexts.append(ME, context.id, [NewItem(text=LONG)])
    async with bench.database.transaction(TENANT) as tx:
        [blob_id] = await tx.contexts.blob_ids(context.id)
    assert await bench.blobs.remove(TENANT, [blob_id, blob_id, new_id()]) == 0
    assert (await bench.blobs.read(TENANT, blob_id)).decode() == LONG


async def test_what_a_crash_left_behind_is_swept_and_nothing_that_may_still_be_claimed(bench):
    """D01: the process died between the blob and the item that would have referred to it."""
    await bench.blobs.keep(TENANT, FILE)
    assert await bench.blobs.sweep(TENANT, utc_now()) == 0
    assert await bench.kept() == 1
    assert await bench.blobs.sweep(TENANT, utc_now() + LATER) == 1
    assert await bench.kept() == 0


async def test_a_blob_whose_message_was_lost_is_swept(bench):
    context = await bench.contexts.create(ME, "lost")
    await bench.contexts.append(ME, context.id, [NewItem(text=LONG)])
    await bench.contexts.delete(ME, context.id)
    assert await bench.blobs.sweep(TENANT, utc_now() + LATER) == 1
    assert await bench.kept() == 0


async def test_who_refers_to_a_blob_that_is_being_removed_is_refused(database):
    async with a_bench(database, None) as bench:
        blob_id = await bench.blobs.keep(TENANT, FILE)
        context = await bench.contexts.create(ME, "race")
        item = CountedItem(new_id(), NewItem(text="x"), 1, blob_id=blob_id)

        async def refer() -> None:
            async with bench.database.transaction(TENANT) as tx:
                await tx.contexts.append(context.id, [item])

        async with bench.database.transaction(TENANT) as removing:
            assert await removing.blobs.remove(blob_id) is not None
            referring = asyncio.create_task(refer())
            done, _ = await asyncio.wait([referring], timeout=0.2)
            assert not done, "it waits for the removal"
        with pytest.raises(Conflict):
            await referring
        assert (await bench.contexts.get(ME, context.id)).item_count == 0


async def test_a_payload_that_is_large_is_kept_apart_with_its_bytes(bench):
    body = failed_build() | {"branch": "x" * LARGE_PAYLOAD}
    given = delivery(body)
    receipt = await EventIntake(bench.database, Metrics(), bench.blobs).receive(
        "ci", SOURCE, ORIGIN, (SECRET,), given
    )
    async with bench.database.transaction(TENANT) as tx:
        payload = await tx.events.payload(receipt.event_ids[0])
    assert isinstance(payload, UUID)
    assert await bench.blobs.read(TENANT, payload) == given.body
    assert await bench.blobs.sweep(TENANT, utc_now() + LATER) == 0


async def test_bytes_that_were_changed_are_not_given_out(database):
    with running_s3() as s3:
        async with a_bench(database, s3) as bench:
            blob_id = await bench.blobs.keep(TENANT, FILE)
            client_of(s3).put_object(Bucket=BUCKET, Key=f"{TENANT}/{blob_id}", Body=b"something else")
            with pytest.raises(Internal):
                await bench.blobs.read(TENANT, blob_id)


async def test_without_s3_nothing_is_lost_and_what_is_there_stays(database):
    """D09: the store is away while a file is attached and while a context is deleted."""
    with running_s3() as s3:
        async with a_bench(database, s3) as bench:
            context = await bench.contexts.create(ME, "outage")
            await bench.contexts.append(ME, context.id, [NewItem(text=LONG)])
    async with a_bench(database, s3) as bench:
        with pytest.raises(Unavailable):
            await bench.contexts.append(ME, context.id, [NewItem(text=LONG)])
        assert (await bench.contexts.get(ME, context.id)).item_count == 1
        await bench.contexts.delete(ME, context.id)
        with pytest.raises(Unavailable):
            await bench.released()
        async with bench.database.transaction(TENANT) as tx:
            assert len(await tx.blobs.forgotten(utc_now() + LATER, 10)) == 2


async def test_few_large_bodies_are_written_into_the_database_at_once(database, monkeypatch):
    """Many abreast would each take longer than a statement may, and their senders hear that they failed."""
    write, going, most = Blobs.write, 0, 0

    async def watched(self, blob_id, body):
        nonlocal going, most
        going += 1
        most = max(most, going)
        try:
            await write(self, blob_id, body)
        finally:
            going -= 1

    monkeypatch.setattr(Blobs, "write", watched)
    async with open_database(database.app_url, pool_size=6, application="test") as opened:
        store = BlobStore(opened)
        kept = await asyncio.gather(*(store.keep(TENANT, bytes([n]) * 300_000) for n in range(6)))
        read = [await store.read(TENANT, blob_id) for blob_id in kept]
    assert most == 2
    assert read == [bytes([n]) * 300_000 for n in range(6)]
