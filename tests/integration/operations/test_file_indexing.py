"""What attached files are found by, against PostgreSQL and an S3; the worker's side."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import psycopg
import pytest
from pydantic import JsonValue

from devops_mcp.embedding.catalogue import EmbeddingModels
from devops_mcp.events.messages import FileAttached
from devops_mcp.models.contexts import ContextItem
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.passages import Passage, Question
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.blobs import BlobStore, Upload
from devops_mcp.operations.context_copies import ContextCopyService
from devops_mcp.operations.contexts import ContextService
from devops_mcp.operations.file_indexing import FileIndexer
from devops_mcp.operations.search import SearchService
from devops_mcp.operations.text_files import MAX_FILE_TEXT
from devops_mcp.outbound.objects import open_objects
from devops_mcp.repositories.database import Database, open_database
from support.s3 import BUCKET, running_s3

ME = Principal(
    id=new_id(),
    tenant_id=DEFAULT_TENANT_ID,
    kind=PrincipalKind.AGENT,
    name="me",
    grants=("contexts:*", "search:*"),
)
LOG = Upload("gateway.json", "application/json", b'{"level": "error", "said": "the canary sings at noon"}')


@dataclass
class Bench:
    database: Database
    contexts: ContextService
    copies: ContextCopyService
    blobs: BlobStore
    indexer: FileIndexer
    superuser_url: str

    async def attach(self, context_id: UUID, file: Upload = LOG) -> ContextItem:
        return await self.contexts.attach(ME, context_id, file, "what the log said")

    def announced(self) -> list[FileAttached]:
        """What waits for the worker; taken out of the outbox."""
        with psycopg.connect(self.superuser_url) as connection:
            found = connection.execute("DELETE FROM outbox WHERE queue = 'indexing' RETURNING message")
            return [FileAttached.model_validate_json(message) for (message,) in found.fetchall()]

    async def indexed(self) -> int:
        """The worker does what waits for it; how many files had an effect."""
        return len(await self.indexer.process(DEFAULT_TENANT_ID, self.announced()))

    async def found(self, query: str = "canary noon", who: Principal = ME) -> list[Passage]:
        search = SearchService(self.database, EmbeddingModels(), Metrics())
        return [hit.passage for hit in (await search.ask(who, Question(query=query))).hits]

    def count(self, of: str) -> int:
        with psycopg.connect(self.superuser_url) as connection:
            row = connection.execute(f"SELECT count(*) FROM {of}").fetchone()  # type: ignore[arg-type]
        return row[0] if row else 0


@pytest.fixture(params=["database", "bucket"])
async def bench(request, database) -> AsyncIterator[Bench]:
    with running_s3() as s3:
        async with (
            open_database(database.worker_url, pool_size=4, application="test") as opened,
            open_objects(BUCKET, region="us-east-1", endpoint_url=s3) as objects,
        ):
            blobs = BlobStore(opened, objects if request.param == "bucket" else None)
            contexts = ContextService(opened, embeds=True, blobs=blobs)
            copies = ContextCopyService(opened, contexts, blobs, embeds=True)
            indexer = FileIndexer(opened, blobs, embeds=True)
            yield Bench(opened, contexts, copies, blobs, indexer, database.superuser_url)


async def test_a_file_of_text_is_found_by_what_it_says_with_its_name_and_its_context(bench):
    context = await bench.contexts.create(ME, "a long night")
    item = await bench.attach(context.id)
    assert await bench.found() == []
    assert await bench.indexed() == 1
    [found] = await bench.found()
    assert (found.context_id, found.source_id) == (context.id, item.id)
    assert (found.title, found.uri) == (
        "a long night: gateway.json",
        f"devops://contexts/{context.id}#{item.position}",
    )
    assert found.metadata == {
        "kind": "note",
        "position": 1,
        "attachment": "gateway.json",
        "media_type": "application/json",
    }
    assert "canary" in found.text
    assert bench.count("outbox WHERE message LIKE '%embedding.requested%'") == 2, "of the item, of its file"


async def test_nobody_else_finds_it(bench):
    """T01"""
    await bench.attach((await bench.contexts.create(ME, "mine")).id)
    assert await bench.indexed() == 1
    for other in (
        ME.model_copy(update={"id": new_id(), "grants": ("contexts:read", "search:read")}),
        ME.model_copy(update={"tenant_id": new_id(), "grants": ("*",)}),
    ):
        assert await bench.found(who=other) == []


async def test_what_is_no_text_is_not_read(bench):
    context = await bench.contexts.create(ME, "files")
    await bench.attach(context.id, Upload("a.bin", "application/octet-stream", LOG.body))
    assert bench.announced() == []
    await bench.attach(context.id, Upload("a.txt", "text/plain", b"the canary sings at noon\0"))
    assert await bench.indexed() == 1
    assert await bench.found() == []
    assert bench.count("passages") == 2, "of what was said of them"


async def test_a_long_file_is_found_by_its_beginning(bench):
    body = b"the canary sings at noon. " + b"word " * (MAX_FILE_TEXT // 5) + b" unrepeatable"
    await bench.attach((await bench.contexts.create(ME, "long")).id, Upload("a.log", "text/plain", body))
    assert await bench.indexed() == 1
    assert len(await bench.found()) == 1
    assert await bench.found("unrepeatable") == []
    assert 400 < bench.count("passages WHERE part >= 1000") < 1_050


async def test_a_file_whose_message_comes_twice_is_indexed_once(bench):
    await bench.attach((await bench.contexts.create(ME, "twice")).id)
    [message] = bench.announced()
    both = await asyncio.gather(
        *(bench.indexer.process(DEFAULT_TENANT_ID, [message, message]) for _ in range(2))
    )
    assert sorted(map(len, both)) == [0, 1]
    again = message.model_copy(update={"id": new_id()})
    await bench.indexer.process(DEFAULT_TENANT_ID, [again])
    assert bench.count("passages WHERE part >= 1000") == 1


async def test_a_file_whose_context_is_gone_before_its_message_leaves_nothing(bench):
    context = await bench.contexts.create(ME, "gone")
    await bench.attach(context.id)
    await bench.attach(context.id)
    [first, second] = bench.announced()
    await bench.indexer.process(DEFAULT_TENANT_ID, [first])
    assert len(await bench.found()) == 1
    await bench.contexts.delete(ME, context.id)
    assert await bench.indexer.process(DEFAULT_TENANT_ID, [first, second]) == set()
    assert (bench.count("passages"), bench.count("processed_messages")) == (0, 1)


async def test_a_file_whose_context_is_deleted_while_it_is_read_leaves_nothing(bench, monkeypatch):
    context = await bench.contexts.create(ME, "gone")
    await bench.attach(context.id)
    messages, read = bench.announced(), bench.blobs.read

    async def read_and_deleted(tenant_id: UUID, blob_id: UUID) -> bytes:
        body: bytes = await read(tenant_id, blob_id)
        await bench.contexts.delete(ME, context.id)
        return body

    monkeypatch.setattr(bench.blobs, "read", read_and_deleted)
    assert await bench.indexer.process(DEFAULT_TENANT_ID, messages) == set()
    assert (bench.count("passages"), bench.count("processed_messages")) == (0, 0)


async def test_a_file_whose_context_waits_to_be_removed_is_not_indexed(bench):
    """As one that holds much does, emptied in steps."""
    context = await bench.contexts.create(ME, "much")
    await bench.attach(context.id)
    async with bench.database.transaction(DEFAULT_TENANT_ID) as tx:
        await tx.contexts.give_up(context.id)
    assert await bench.indexed() == 0
    assert bench.count("passages WHERE part >= 1000") == 0


async def test_a_fork_has_its_files_found_for_itself(bench):
    context = await bench.contexts.create(ME, "original")
    await bench.attach(context.id)
    assert await bench.indexed() == 1
    await bench.attach(context.id, Upload("b.txt", "text/plain", b"the canary sings at noon, too"))
    forked = await bench.copies.fork(ME, context.id, title="fork")
    await bench.contexts.delete(ME, context.id)
    assert await bench.found() == []
    assert await bench.indexed() == 2, "of the fork: the original's is gone"
    found = await bench.found()
    assert {passage.title for passage in found} == {"fork: gateway.json", "fork: b.txt"}
    assert {passage.context_id for passage in found} == {forked.id}


async def test_an_imported_file_is_found_when_the_import_is_whole(bench):
    context = await bench.contexts.create(ME, "exported")
    await bench.attach(context.id)
    lines = [line.model_dump(mode="json") async for line in await bench.copies.export(ME, context.id)]
    await bench.contexts.delete(ME, context.id)
    bench.announced()

    async def slowly() -> AsyncIterator[JsonValue]:
        yield lines[0] | {"items": 101}
        for _ in range(100):
            yield json.loads(json.dumps(lines[1]))
        assert await bench.indexed() == 100
        assert bench.count("passages WHERE part >= 1000") == 100
        assert await bench.found() == []
        yield lines[1]

    taken = await bench.copies.take_in(ME, slowly())
    assert {passage.context_id for passage in await bench.found()} == {taken.id}
