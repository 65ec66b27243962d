"""Long contexts summed up by the worker, against PostgreSQL; the language model is one of the test's own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson
import psycopg
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from devops_mcp.events.messages import MESSAGE, CompactionRequested
from devops_mcp.models.contexts import ContextItem, NewItem
from devops_mcp.models.ids import DEFAULT_TENANT_ID, first_id_at, new_id
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.operations.compaction import SPAN_TOKENS, Compactor
from devops_mcp.operations.contexts import ContextService
from devops_mcp.operations.summaries import Summariser, Summary
from devops_mcp.outbound.chat import open_chat_model
from devops_mcp.repositories.database import Database, open_database
from support.servers import LOOPBACK, serve

TENANT = DEFAULT_TENANT_ID
ME = Principal(id=new_id(), tenant_id=TENANT, kind=PrincipalKind.AGENT, name="me", grants=("*",))
ABOVE = 4_000
SENTENCE = (
    "the disk of node {n} was looked at and found to be in good order by whoever was on call that night"
)


@dataclass
class Bench:
    """A context, and the worker's side of compaction."""

    database: Database
    contexts: ContextService
    compactor: Compactor
    context_id: UUID

    async def append(self, count: int) -> None:
        for start in range(0, count, 50):
            items = [NewItem(text=SENTENCE.format(n=n)) for n in range(start, min(start + 50, count))]
            await self.contexts.append(ME, self.context_id, items)

    async def requested(self) -> list[CompactionRequested]:
        """What waits in the outbox, as the worker would get it; it is taken."""
        messages = []
        async with self.database.relaying() as relay:
            while rows := await relay.take(100):  # of a context one after the other
                await relay.remove([row.id for row in rows])
                messages += [MESSAGE.validate_json(row.message) for row in rows]
        return [message for message in messages if isinstance(message, CompactionRequested)]

    async def summaries(self) -> list[ContextItem]:
        context = await self.contexts.get(ME, self.context_id)
        page = await self.contexts.items(ME, self.context_id, after=0, limit=context.item_count)
        return [item for item in page.items if item.covers_to is not None]


@asynccontextmanager
async def a_bench(database, summariser: Summariser | None = None) -> AsyncIterator[Bench]:
    async with open_database(database.worker_url, pool_size=4, application="worker") as opened:
        contexts = ContextService(opened, embeds=False, compact_above=ABOVE)
        context = await contexts.create(ME, "a long night")
        compactor = Compactor(opened, summariser or Summariser(), embeds=False)
        yield Bench(opened, contexts, compactor, context.id)


async def test_a_context_that_grows_beyond_its_limit_is_summed_up_once_and_keeps_its_items(database):
    async with a_bench(database) as bench:
        await bench.append(100)
        assert await bench.requested() == [], "it is still short"
        await bench.append(200)
        [message] = await bench.requested()
        assert await bench.compactor.process(TENANT, [message]) == {message.id}
        [summary] = await bench.summaries()
        context = await bench.contexts.get(ME, bench.context_id)
        originals = await bench.contexts.items(ME, bench.context_id, after=0, limit=300)
    assert (summary.covers_from, summary.covers_to) == (1, context.compacted_to)
    assert 200 < context.compacted_to < 300, "the latest are left as they are"
    assert ABOVE // 8 < context.pending_tokens < ABOVE // 2
    assert [item.text for item in originals.items][:3] == [SENTENCE.format(n=n) for n in range(3)]
    assert summary.metadata == {"made_by": "extractive"}
    assert context.compaction_id is None


async def test_a_message_that_comes_again_and_one_that_is_outdated_do_nothing(database):
    async with a_bench(database) as bench:
        await bench.append(300)
        [message] = await bench.requested()
        await bench.compactor.process(TENANT, [message])
        assert await bench.compactor.process(TENANT, [message]) == set()
        outdated = message.model_copy(update={"id": new_id()})
        assert await bench.compactor.process(TENANT, [outdated]) == set()
        assert len(await bench.summaries()) == 1


async def test_two_workers_with_the_same_message_write_each_summary_once(database):
    async with a_bench(database) as bench:
        await bench.append(900)
        await bench.contexts.compact(ME, bench.context_id, keep_tokens=0)
        message = (await bench.requested())[-1]
        await asyncio.gather(*(bench.compactor.process(TENANT, [message]) for _ in range(3)))
        spans = [(item.covers_from, item.covers_to) for item in await bench.summaries()]
    assert len(spans) > 1, f"more than {SPAN_TOKENS} tokens are summed up in parts"
    assert spans[0][0] == 1
    assert spans[-1][1] == 900
    assert [first for first, _ in spans[1:]] == [last + 1 for _, last in spans[:-1] if last is not None]


async def test_a_worker_that_dies_between_two_parts_leaves_the_rest_to_the_next_delivery(database):
    """D01"""

    class Dying(Summariser):
        calls = 0

        async def sum_up(self, title: str, text: str, max_tokens: int = 800) -> Summary:
            self.calls += 1
            if self.calls == 2:
                raise asyncio.CancelledError
            return await super().sum_up(title, text, max_tokens)

    async with a_bench(database, Dying()) as bench:
        await bench.append(900)
        await bench.contexts.compact(ME, bench.context_id, keep_tokens=0)
        message = (await bench.requested())[-1]
        with pytest.raises(asyncio.CancelledError):
            await bench.compactor.process(TENANT, [message])
        halfway = [(item.covers_from, item.covers_to) for item in await bench.summaries()]
        await bench.compactor.process(TENANT, [message])
        spans = [(item.covers_from, item.covers_to) for item in await bench.summaries()]
    assert len(halfway) == 1
    assert spans[:1] == halfway
    assert spans[-1][1] == 900


async def test_many_summaries_are_summed_up_themselves(database):
    async with a_bench(database) as bench:
        for _ in range(11):
            await bench.append(10)
            await bench.contexts.compact(ME, bench.context_id, keep_tokens=0)
            await bench.compactor.process(TENANT, await bench.requested())
        spans = [(item.covers_from, item.covers_to) for item in await bench.summaries()]
        merged = [(first, last) for first, last in spans if first == 1 and last is not None and last > 10]
    assert len(merged) == 1
    assert merged[0][1] > 80


async def test_a_compaction_whose_message_has_died_is_begun_anew(database):
    async with a_bench(database) as bench:
        await bench.append(300)
        await bench.requested()
        await bench.append(50)
        assert await bench.requested() == [], "one is under way"
        with psycopg.connect(database.superuser_url) as connection:
            long_ago = first_id_at(datetime.now(UTC) - timedelta(hours=2))
            connection.execute("UPDATE contexts SET compaction_id = %s", (long_ago,))
        await bench.append(1)
        [message] = await bench.requested()
        assert await bench.compactor.process(TENANT, [message]) == {message.id}


async def test_what_is_appended_while_the_last_summary_is_written_is_not_forgotten(database):
    class Slow(Summariser):
        bench: Bench
        calls = 0

        async def sum_up(self, title: str, text: str, max_tokens: int = 800) -> Summary:
            self.calls += 1
            if self.calls == 1:
                await self.bench.append(400)
            return await super().sum_up(title, text, max_tokens)

    slow = Slow()
    async with a_bench(database, slow) as bench:
        slow.bench = bench
        await bench.append(300)
        await bench.compactor.process(TENANT, await bench.requested())
        context = await bench.contexts.get(ME, bench.context_id)
        assert await bench.requested() == [], "it was under way"
    assert context.compacted_to > 600
    assert context.compaction_id is None


async def test_a_context_that_is_deleted_meanwhile_is_no_failure(database):
    async with a_bench(database) as bench:
        await bench.append(300)
        messages = await bench.requested()
        await bench.contexts.delete(ME, bench.context_id)
        assert await bench.compactor.process(TENANT, messages) == set()


@dataclass
class Model:
    """An OpenAI-compatible server that answers as it is told."""

    status: int = 200
    asked: list[dict] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    async def complete(self, request: Request) -> Response:
        self.asked.append(orjson.loads(await request.body()))
        self.keys.append(request.headers.get("authorization"))
        message = {"role": "assistant", "content": "the disks were in order"}
        return JSONResponse({"choices": [{"index": 0, "message": message}]}, self.status)


async def test_a_context_whose_time_is_over_is_not_summed_up(database):
    """It is there until the worker's upkeep removes it, and the message must not wait for that."""
    async with a_bench(database) as bench:
        await bench.append(300)
        [message] = await bench.requested()
        with psycopg.connect(database.superuser_url, autocommit=True) as connection:
            connection.execute("UPDATE contexts SET expires_at = now() - interval '1 minute'")
        async with asyncio.timeout(60):
            assert await bench.compactor.process(TENANT, [message]) == set()


@pytest.mark.parametrize(
    ("status", "made_by"), [(200, "small-model"), (500, "extractive"), (401, "extractive")]
)
async def test_a_configured_model_writes_the_summary_and_sentences_are_picked_where_it_fails(
    database, status, made_by
):
    model = Model(status)
    app = Starlette(routes=[Route("/v1/chat/completions", model.complete, methods=["POST"])])
    async with (
        serve(app) as url,
        open_chat_model(f"{url}/v1", "small-model", SecretStr("sk-test"), LOOPBACK, timeout_s=20) as chat,
        a_bench(database, Summariser(chat)) as bench,
    ):
        await bench.append(300)
        await bench.compactor.process(TENANT, await bench.requested())
        [summary] = await bench.summaries()
    assert summary.metadata == {"made_by": made_by}
    assert (summary.text == "the disks were in order") == (status == 200)
    assert model.keys == ["Bearer sk-test"]
    assert model.asked[0]["model"] == "small-model"
    assert "disk of node 3 " in model.asked[0]["messages"][1]["content"]
