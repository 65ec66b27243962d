"""Calling tools the one way there is, against PostgreSQL; the system behind them is a small one of the test's own."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import anyio
import orjson
import psycopg
import pytest
from pydantic import BaseModel, Field, SecretStr
from redis.asyncio import Redis

from devops_mcp.adapters.base import (
    Adapter,
    Effect,
    Listing,
    ListParams,
    Outside,
    Tool,
    WriteParams,
    WriteResult,
)
from devops_mcp.auth.envelope import Envelope
from devops_mcp.auth.keyring import Keyring
from devops_mcp.cache.rates import Rate
from devops_mcp.cache.redis import open_redis
from devops_mcp.config import IntegrationSettings
from devops_mcp.embedding.catalogue import EmbeddingModels
from devops_mcp.events.messages import ResultKept
from devops_mcp.models import passages
from devops_mcp.models.base import OWN_SYSTEM, Model
from devops_mcp.models.conversation import Answer, Conversation, Form, FormAnswer, Question
from devops_mcp.models.errors import (
    Conflict,
    DeadlineExceeded,
    Forbidden,
    Internal,
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    PlatformError,
    RateLimited,
    RequestInProgress,
    UpstreamInvalid,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnavailable,
)
from devops_mcp.models.event_queries import EventsWanted
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.passages import Passage, PassageKind
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations import pacing
from devops_mcp.operations.agents import AgentService
from devops_mcp.operations.audit import open_audit_trail
from devops_mcp.operations.blobs import BlobStore
from devops_mcp.operations.call_ledger import CallLedger
from devops_mcp.operations.caller_rates import CallerRates
from devops_mcp.operations.catalogue import Catalogue
from devops_mcp.operations.confirmation import Confirmation
from devops_mcp.operations.context_copies import ContextCopyService
from devops_mcp.operations.context_journal import open_context_journal
from devops_mcp.operations.contexts import ContextService
from devops_mcp.operations.embeddings import EmbeddingService
from devops_mcp.operations.event_log import EventLog
from devops_mcp.operations.event_texts import is_worth_finding
from devops_mcp.operations.facts import FactService
from devops_mcp.operations.front_door import FRONT_DOOR_TOOLS
from devops_mcp.operations.integrations import open_integrations
from devops_mcp.operations.quota_keeper import QuotaKeeper
from devops_mcp.operations.requester import NobodyToAsk, Requester
from devops_mcp.operations.result_indexing import ResultIndexer
from devops_mcp.operations.results import ResultService
from devops_mcp.operations.search import SearchService
from devops_mcp.operations.suite_tools import SUITE_TOOLS, Desk, Suite
from devops_mcp.operations.tasks import TaskService
from devops_mcp.operations.tool_outcomes import ToolOutcome
from devops_mcp.operations.tool_search import ToolSearch
from devops_mcp.operations.tools import Toolbox, ToolLimits, ToolService
from devops_mcp.operations.upstream_access import UpstreamAccess
from devops_mcp.operations.windows import WindowService
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.resilience.breaker import CircuitOpen
from devops_mcp.resilience.bulkhead import BulkheadFull


class Box:
    """The system: it counts what is done to it and fails when told to."""

    def __init__(self) -> None:
        self.reads = 0
        self.writes = 0
        self.failure: Exception | None = None
        self.says = ""
        self.entered = asyncio.Event()
        self.hangs = asyncio.Event()
        self.hangs.set()

    async def act(self) -> None:
        self.entered.set()
        await self.hangs.wait()
        if self.failure:
            raise self.failure


class BoxSettings(BaseModel):
    pass


class Thing(Model):
    name: str
    note: str


class ListThings(ListParams):
    count: int = Field(default=1, ge=0)


class PutThing(WriteParams):
    name: str


async def box_thing_list(box: Box, params: ListThings) -> Listing[Thing]:
    """List things."""
    box.reads += 1
    await box.act()
    return Listing[Thing](items=[Thing(name=f"thing-{i}", note="n" * 50) for i in range(params.count)])


async def box_thing_cached(box: Box, params: ListThings) -> Listing[Thing]:
    """List things, kept for a minute."""
    return await box_thing_list(box, params)


async def box_thing_put(box: Box, params: PutThing) -> WriteResult:
    """Put a thing."""
    await box.act()
    box.writes += 1
    return WriteResult(
        done=f"put {params.name}", data={"number": box.writes, **({"says": box.says} if box.says else {})}
    )


async def box_thing_ask(box: Box, params: PutThing, conversation: Conversation) -> WriteResult:
    """Put a thing, if there is a person who says so."""
    if conversation.can_answer("form"):
        await conversation.ask({"sure": Form(message="sure?", fields={})})
    return await box_thing_put(box, params)


class Speechless(NobodyToAsk):
    """A person who is asked and says nothing, until `says` is set."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.says = asyncio.Event()

    def can_answer(self, kind: str) -> bool:
        return True

    async def ask(self, questions: Mapping[str, Question]) -> Mapping[str, Answer]:
        self.asked.set()
        await self.says.wait()
        return {name: FormAnswer(action="accept") for name in questions}


class World:
    """One process's tools over one box, for the tenant's principals."""

    def __init__(self, tools: ToolService, database: Database, box: Box) -> None:
        self.tools = tools
        self.database = database
        self.box = box

    async def call(
        self, name: str, principal: Principal | None = None, /, **arguments: Any
    ) -> dict[str, Any]:
        return (await self.tools.call(Requester(principal or who("*")), name, arguments)).data


ME = new_id()
DEADLINE_S = 60.0
"""Of a call, and so of how long one that broke off is not made anew: no machine is as slow as that."""


def who(*grants: str, id_: object = ME) -> Principal:
    return Principal(
        id=id_, tenant_id=DEFAULT_TENANT_ID, kind=PrincipalKind.AGENT, name="tester", grants=grants
    )


@asynccontextmanager
async def a_world(
    database_url: str,
    *,
    read_only: bool = False,
    deadline_s: float = DEADLINE_S,
    rates: CallerRates | None = None,
) -> AsyncIterator[World]:
    box = Box()

    @asynccontextmanager
    async def connect(settings: BoxSettings, outside: Outside) -> AsyncIterator[Box]:
        yield box

    async def ping(client: Box) -> None:
        return None

    adapter = Adapter(
        name="box",
        title="Box",
        settings=BoxSettings,
        connect=connect,
        ping=ping,
        tools=(
            Tool("box_thing_list", "List", ListThings, Listing[Thing], box_thing_list),
            Tool(
                "box_thing_cached",
                "List",
                ListThings,
                Listing[Thing],
                box_thing_cached,
                cache_for=timedelta(minutes=1),
            ),
            Tool("box_thing_put", "Put", PutThing, WriteResult, box_thing_put, Effect.WRITE),
            Tool("box_thing_ask", "Ask", PutThing, WriteResult, box_thing_ask, Effect.WRITE),
        ),
    )
    configured = [IntegrationSettings(name="box-1", system="box", read_only=read_only)]
    async with (
        open_database(database_url, pool_size=4, application="test") as database,
        open_integrations(configured, {"box": adapter}, Outside()) as integrations,
        open_audit_trail(database, Metrics()) as audit,
        open_context_journal(contexts := ContextService(database, embeds=False)) as journal,
    ):
        metrics = Metrics()
        limits = ToolLimits(budget_bytes=2_000, deadline_s=deadline_s)
        catalogue = Catalogue({"box": adapter}, (*FRONT_DOOR_TOOLS, *SUITE_TOOLS))
        keyring = Keyring([SecretStr("a master key for the tests, and nothing else")])
        confirmation = Confirmation(keyring)
        access = UpstreamAccess(integrations, database, Envelope(keyring))

        def desk(requester: Requester, toolbox: Toolbox) -> Desk:
            return suite.desk(requester, toolbox)

        quotas = QuotaKeeper(database, Redis())
        ledger = CallLedger(audit, journal, metrics, quotas)
        tools = ToolService(catalogue, access, desk, database, ledger, limits, confirmation, rates)
        search = SearchService(database, EmbeddingModels(), metrics)
        suite = Suite(
            contexts,
            search,
            EventLog(database),
            ResultService(database),
            ToolSearch(None),
            TaskService(database, tools),
            WindowService(database, search, contexts),
            FactService(database),
            ContextCopyService(database, contexts, BlobStore(database), embeds=False),
            AgentService(database, EmbeddingService(database, EmbeddingModels(), quotas)),
        )
        yield World(tools, database, box)


async def test_a_call_answers_and_leaves_one_audit_record_with_its_secrets_masked(database):
    """L05, K01"""
    async with a_world(database.app_url) as world:
        assert await world.call("box_thing_put", name="x") == {
            "dry_run": False,
            "done": "put x",
            "data": {"number": 1},
        }
        with pytest.raises(InvalidInput):
            await world.call("box_thing_put", name="x", api_token="hush")
    async with (
        open_database(database.app_url, pool_size=1, application="test") as opened,
        opened.transaction(DEFAULT_TENANT_ID) as tx,
    ):
        refused, done = await tx.audit.latest(10)
    assert (done.target, done.outcome, done.error_code) == ("box_thing_put", "ok", None)
    assert (refused.outcome, refused.error_code) == ("failed", "invalid_input")
    assert refused.arguments == {"name": "x", "api_token": "***"}


async def test_who_is_told_that_a_system_was_changed_finds_it_in_the_audit_log(database, monkeypatch):
    """I8, D01: killed a moment later, the process takes no record of a change with it."""
    monkeypatch.setattr("devops_mcp.operations.backlog.FLUSH_S", 3_600.0)
    async with a_world(database.app_url) as world:
        await world.call("box_thing_list")
        await asyncio.gather(*(world.call("box_thing_put", name=f"{n}") for n in range(20)))
        async with world.database.transaction(DEFAULT_TENANT_ID) as tx:
            written = await tx.audit.latest(100)
    assert [record.target for record in written].count("box_thing_put") == 20


async def test_a_call_of_a_systems_tool_is_published_once_and_one_of_the_suites_is_not(database):
    async with a_world(database.app_url) as world:
        await world.call("box_thing_put", name="x", idempotency_key="hush")
        world.box.failure = Forbidden("not you")
        with pytest.raises(Forbidden):
            await world.call("box_thing_list")
        await world.call("tools_describe", names=["box_thing_put"])
    async with open_database(database.worker_url, pool_size=1, application="test") as opened:
        async with opened.transaction(DEFAULT_TENANT_ID) as tx:
            stored = await tx.events.page(EventsWanted(system=OWN_SYSTEM), limit=10)
            unasked = await tx.events.page(EventsWanted(), limit=10)
            records = {record.id: record for record in await tx.audit.latest(10)}
            listed, put = (one.event for one in stored)
            await tx.events.publish([put], [None])  # as when the commit was not heard of
        async with opened.relaying() as relay:
            waiting = [row.id for row in await relay.take(10)]
    assert unasked == []
    assert waiting == [put.id, listed.id]
    assert (put.type, put.subject, put.failed, put.actor) == ("tool.called", "box_thing_put", False, "tester")
    assert (listed.subject, listed.failed, listed.error_code) == ("box_thing_list", True, "forbidden")
    assert "hush" not in put.model_dump_json()
    assert records[put.id].trace_id is None or records[put.id].trace_id in (stored[1].trace or "")
    assert is_worth_finding(put)
    assert not is_worth_finding(listed)


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({}, "arguments.name"),
        ({"name": "x", "colour": "red"}, "arguments.colour"),
        ({"name": ["x"]}, "arguments.name"),
        ({"name": "a\0b"}, "arguments.name"),
        ({"name": "x", "dry_run": float("nan")}, "arguments.dry_run"),
    ],
)
async def test_wrong_arguments_are_named_and_nothing_is_done(database, arguments, where):
    """J03, J04"""
    async with a_world(database.app_url) as world:
        with pytest.raises(InvalidInput) as refused:
            await world.call("box_thing_put", **arguments)
        assert [violation.where for violation in refused.value.violations] == [where]
        assert world.box.writes == 0


async def test_arguments_of_very_many_values_are_refused_before_each_is_looked_at(database):
    """J03: to say of each of a hundred thousand what is wrong with it takes a second."""
    async with a_world(database.app_url) as world:
        with pytest.raises(InvalidInput, match="more than 10000 values"):
            await world.call("box_thing_put", name=[[{"a": 1}] * 50] * 100)
        with pytest.raises(InvalidInput, match=r"arguments\.name"):
            await world.call("box_thing_put", name=[[{"a": 1}] * 50] * 98)


@pytest.mark.parametrize("grants", [(), ("tools:read:*",), ("tools:write:github_*",)])
async def test_a_tool_that_is_hidden_is_refused_like_one_that_does_not_exist(database, grants):
    """O09"""
    async with a_world(database.app_url) as world:
        principal = who(*grants)
        assert "box_thing_put" not in [entry.tool.name for entry in world.tools.visible(Requester(principal))]
        with pytest.raises(NotFound, match="there is no tool 'box_thing_put'"):
            await world.call("box_thing_put", principal, name="x")


async def test_another_tenant_without_the_system_does_not_see_its_tools(database):
    async with a_world(database.app_url) as world:
        stranger = who("*").model_copy(update={"tenant_id": new_id()})
        assert not [entry for entry in world.tools.visible(Requester(stranger)) if entry.system == "box"]


async def test_a_read_only_integration_refuses_writes_and_serves_reads(database):
    async with a_world(database.app_url, read_only=True) as world:
        with pytest.raises(Forbidden):
            await world.call("box_thing_put", name="x")
        assert (await world.call("box_thing_list"))["items"] == [{"name": "thing-0", "note": "n" * 50}]


async def test_a_large_result_is_cut_and_its_whole_read_by_its_handle_only_by_its_owner(database):
    """T01"""
    async with a_world(database.app_url) as world:
        result = await world.call("box_thing_list", count=100)
        truncated = result["truncated"]
        assert truncated["cut"] == [f"items ({len(result['items'])} of 100 items)"]
        handle = truncated["handle"]
        found = await world.call("result_read", handle=handle, json_path="$.items[99].name")
        assert found["lines"][1].strip() == '"thing-99"'
        matching = await world.call("result_read", handle=handle, contains="thing-5", limit=3)
        assert (matching["total"], matching["next_offset"]) == (11, 3)
        with pytest.raises(NotFound):
            await world.call("result_read", who("*", id_=new_id()), handle=handle)


async def found(world: World, principal: Principal, query: str) -> list[Passage]:
    search = SearchService(world.database, EmbeddingModels(), Metrics())
    return [hit.passage for hit in (await search.ask(principal, passages.Question(query=query))).hits]


async def indexed(database) -> None:
    """The worker gets what was announced to it."""
    with psycopg.connect(database.superuser_url) as connection:
        announced = connection.execute(
            "DELETE FROM outbox WHERE queue = 'indexing' RETURNING message"
        ).fetchall()
    kept = [ResultKept.model_validate_json(message) for (message,) in announced]
    async with open_database(database.worker_url, pool_size=1, application="test") as opened:
        done = await ResultIndexer(opened, embeds=False).process(DEFAULT_TENANT_ID, kept)
    assert done == {message.id for message in kept}


async def test_a_kept_result_is_found_by_what_was_cut_from_it_and_only_by_its_owner(database):
    """T01: whoever else may see everything."""
    async with a_world(database.app_url) as world:
        handle = (await world.call("box_thing_list", count=100))["truncated"]["handle"]
        assert await found(world, who("*"), "thing-99") == []
        await indexed(database)
        [first, *_] = await found(world, who("*"), "thing-99")
        assert (first.kind, first.uri) == (PassageKind.RESULT, f"devops://results/{handle}")
        assert first.metadata == {"tool": "box_thing_list", "system": "box"}
        assert "name: thing-99" in first.text
        assert await found(world, who("*", id_=new_id()), "thing-99") == []


async def test_what_the_suite_itself_was_asked_for_is_not_found_again(database):
    async with a_world(database.app_url) as world:
        made = await world.call("context_create", title="long")
        context = str(made["data"]["context_id"])
        await world.call(
            "context_append", context_id=context, items=[{"text": f"unrepeatable {'x ' * 3_000}"}]
        )
        assert (await world.call("context_get", context_id=context))["truncated"]["handle"]
        await indexed(database)
        assert {p.kind for p in await found(world, who("*"), "unrepeatable")} == {PassageKind.CONTEXT_ITEM}


async def a_long_context(world: World, texts: Sequence[str]) -> str:
    made = await world.call("context_create", title="long", metadata={"x": "y" * 200})
    context = str(made["data"]["context_id"])
    for start in range(0, len(texts), 20):
        items = [{"text": text} for text in texts[start : start + 20]]
        await world.call("context_append", context_id=context, items=items)
    return context


async def read_on(world: World, context: str, **arguments: Any) -> list[dict[str, Any]]:
    """The pages of a context."""
    pages = [await world.call("context_get", context_id=context, **arguments)]
    while cursor := pages[-1].get("next_cursor"):
        pages.append(await world.call("context_get", context_id=context, cursor=cursor, **arguments))
    return pages


async def test_a_context_is_read_by_pages_that_fit_and_none_of_them_is_kept(database):
    texts = [f"{n} " + '"\n' * (n % 300) for n in range(60)]
    async with a_world(database.app_url) as world:
        context = await a_long_context(world, texts)
        pages = await read_on(world, context, limit=100)
        items = [item for page in pages for item in page["items"]]
        assert [(item["position"], item["text"]) for item in items] == list(enumerate(texts, 1))
        assert all("truncated" not in page for page in pages)
        assert all(len(orjson.dumps(page)) <= 2_000 for page in pages)
        assert {page["total"] for page in pages} == {60}
        without = await read_on(world, context, limit=100, fields=["position"])
        assert [item for page in without for item in page["items"]] == [{"position": n} for n in range(1, 61)]
        assert len(without) < 10
        async with world.database.transaction(DEFAULT_TENANT_ID) as tx:
            cursor = await tx.connection.execute("SELECT count(*) FROM kept_results")
            assert await cursor.fetchone() == (0,)


async def test_of_an_item_that_does_not_fit_the_beginning_is_shown_and_the_next_page_goes_on(database):
    async with a_world(database.app_url) as world:
        context = await a_long_context(world, ["a", "b" * 150_000, "c"])
        first, second, third = await read_on(world, context)
        assert [item["text"] for item in first["items"]] == ["a"]
        assert [item["position"] for item in second["items"]] == [2]
        assert second["items"][0]["text"].strip("b") == "…"
        whole = second["truncated"]
        assert 150_000 < whole["total_bytes"] < 151_000
        kept = await world.call("result_read", handle=whole["handle"], json_path="$.items[0].position")
        assert kept["lines"][1].strip() == "2"
        assert [item["text"] for item in third["items"]] == ["c"]


async def test_the_same_key_does_a_write_once_and_answers_alike(database):
    """H14"""
    async with a_world(database.app_url) as world:
        first = await world.call("box_thing_put", name="x", idempotency_key="k")
        again = await world.call("box_thing_put", name="x", idempotency_key="k")
        assert (first, world.box.writes) == (again, 1)
        with pytest.raises(Conflict):
            await world.call("box_thing_put", name="y", idempotency_key="k")
        await world.call("box_thing_put", who("*", id_=new_id()), name="y", idempotency_key="k")
        assert world.box.writes == 2


async def test_while_a_keyed_write_is_under_way_a_second_is_told_so(database):
    """H14"""
    async with a_world(database.app_url) as world:
        world.box.hangs.clear()
        first = asyncio.create_task(world.call("box_thing_put", name="x", idempotency_key="k"))
        async with asyncio.timeout(30):
            await world.box.entered.wait()
        with pytest.raises(RequestInProgress) as told:
            await world.call("box_thing_put", name="x", idempotency_key="k")
        assert told.value.retry_after_s == 2
        world.box.hangs.set()
        await first
        assert world.box.writes == 1


async def test_a_keyed_write_that_was_not_made_may_be_tried_again(database):
    """H14: it was refused, or put off before it was sent."""
    not_made = (UpstreamRejected, BulkheadFull, CircuitOpen, RateLimited, UpstreamRateLimited)
    async with a_world(database.app_url) as world:
        for number, kind in enumerate(not_made, 1):
            world.box.failure = kind("not now")
            with pytest.raises(kind):
                await world.call("box_thing_put", name="x", idempotency_key=kind.code)
            world.box.failure = None
            await world.call("box_thing_put", name="x", idempotency_key=kind.code)
            assert world.box.writes == number


async def test_a_keyed_write_whose_outcome_is_unknown_is_not_repeated_at_once(database):
    """H14: whatever it was that went wrong."""
    async with a_world(database.app_url) as world:
        for failure, told in (
            (UpstreamUnavailable("gone"), UpstreamUnavailable),
            (UpstreamInvalid("no JSON"), UpstreamInvalid),
            (KeyError("odd"), Internal),
        ):
            world.box.failure = failure
            with pytest.raises(told):
                await world.call("box_thing_put", name="x", idempotency_key=told.code)
            world.box.failure = None
            with pytest.raises(OutcomeUnknown):
                await world.call("box_thing_put", name="x", idempotency_key=told.code)


async def test_a_keyed_write_whose_answer_could_not_be_kept_is_not_repeated_at_once(database):
    """H14: PostgreSQL keeps no NUL."""
    async with a_world(database.app_url) as world:
        world.box.says = "nothing\0"
        with pytest.raises(PlatformError):
            await world.call("box_thing_put", name="x", idempotency_key="k")
        with pytest.raises(OutcomeUnknown):
            await world.call("box_thing_put", name="x", idempotency_key="k")
        assert world.box.writes == 1


async def test_a_keyed_write_that_asks_a_person_is_left_the_time_of_the_answer(database):
    """H14"""
    async with a_world(database.app_url) as world:
        world.box.failure = UpstreamUnavailable("gone")
        with pytest.raises(UpstreamUnavailable):
            await world.call("box_thing_ask", name="x", idempotency_key="k")
        with pytest.raises(OutcomeUnknown) as told:
            await world.call("box_thing_ask", name="x", idempotency_key="k")
        assert told.value.retry_after_s is not None
        assert told.value.retry_after_s > 300


async def test_a_keyed_write_that_ends_while_a_person_is_asked_was_not_made(database, monkeypatch):
    """H14: its client's connection breaks, or nobody answers."""
    async with a_world(database.app_url) as world:
        person = Speechless()

        async def call() -> ToolOutcome:
            requester = Requester(who("*"), conversation=person)
            return await world.tools.call(requester, "box_thing_ask", {"name": "x", "idempotency_key": "k"})

        async with asyncio.timeout(30), anyio.create_task_group() as connection:
            connection.start_soon(call)
            await person.asked.wait()
            connection.cancel_scope.cancel()
        with monkeypatch.context() as impatient:
            impatient.setattr(pacing, "ANSWER_WITHIN_S", 0.01)
            with pytest.raises(DeadlineExceeded, match="nobody answered"):
                await call()
        person.says.set()
        assert (await call()).data == (await call()).data
        assert world.box.writes == 1


async def test_a_keyed_write_that_broke_off_says_at_once_when_it_would_be_made_anew(database):
    """H14: as when its client's connection breaks, or its client cancels it."""
    async with a_world(database.app_url) as world:
        world.box.hangs.clear()
        async with asyncio.timeout(30), anyio.create_task_group() as connection:
            connection.start_soon(lambda: world.call("box_thing_put", name="x", idempotency_key="k"))
            await world.box.entered.wait()
            connection.cancel_scope.cancel()
        world.box.hangs.set()
        with pytest.raises(OutcomeUnknown) as told:
            await world.call("box_thing_put", name="x", idempotency_key="k")
        assert told.value.retry_after_s is not None
        assert 0 < told.value.retry_after_s <= DEADLINE_S
        assert world.box.writes == 0


async def test_a_cached_read_asks_the_system_once_a_principal(database):
    async with a_world(database.app_url) as world:
        await world.call("box_thing_cached")
        await world.call("box_thing_cached")
        assert world.box.reads == 1
        await world.call("box_thing_cached", count=2)
        await world.call("box_thing_cached", who("*", id_=new_id()))
        assert world.box.reads == 3


async def test_a_tool_that_hangs_ends_at_its_deadline(database):
    async with a_world(database.app_url, deadline_s=0.2) as world:
        world.box.hangs.clear()
        with pytest.raises(DeadlineExceeded):
            await world.call("box_thing_list")


async def test_what_a_tool_did_not_foresee_is_answered_without_its_text(database):
    async with a_world(database.app_url) as world:
        world.box.failure = RuntimeError("password=hunter2")
        with pytest.raises(Internal) as failure:
            await world.call("box_thing_list")
        assert "hunter2" not in str(failure.value)


async def test_a_caller_is_held_to_its_rate_and_another_is_not_concerned(database, redis_url):
    async with open_redis(redis_url, command_timeout_s=2) as redis:
        rates = CallerRates(redis, Rate(per_s=0.01, burst=3), kind="calls", of_tenant=0)
        async with a_world(database.app_url, rates=rates) as world:
            one, other = who("*", id_=new_id()), who("*", id_=new_id())
            for _ in range(3):
                await world.call("box_thing_list", one)
            with pytest.raises(RateLimited) as refused:
                await world.call("box_thing_list", one)
            await world.call("box_thing_list", other)
    assert refused.value.retry_after_s
    assert world.box.reads == 4


async def test_calls_for_a_context_are_found_in_it_with_what_they_answered(database):
    async with a_world(database.app_url) as world:
        created = await world.call("context_create", title="an incident")
        context_id = UUID(str(created["data"]["context_id"]))
        asking = Requester(who("*"), context_id=context_id)
        await world.tools.call(asking, "box_thing_list", {"count": 1})
        world.box.failure = UpstreamUnavailable("the box is shut")
        with pytest.raises(UpstreamUnavailable):
            await world.tools.call(asking, "box_thing_put", {"name": "x"})
        world.box.failure = None
    async with a_world(database.app_url) as world:  # the first has written the rest when it closed
        read = await world.call("context_get", context_id=str(context_id))
    kept = [(item["kind"], item["text"]) for item in read["items"]]
    assert [kind for kind, _ in kept] == ["tool_call", "result", "tool_call", "result"]
    assert kept[0][1] == 'box_thing_list {"count":1}'
    assert "thing-0" in kept[1][1]
    assert kept[3][1] == "upstream_unavailable: the box is shut"


async def test_a_context_of_another_is_refused_before_anything_is_done(database):
    """T01"""
    async with a_world(database.app_url) as world:
        created = await world.call("context_create", title="mine")
        context_id = UUID(str(created["data"]["context_id"]))
        stranger = who("tools:*", "contexts:read", "contexts:write", id_=new_id())
        with pytest.raises(NotFound):
            await world.tools.call(Requester(stranger, context_id=context_id), "box_thing_put", {"name": "x"})
    assert world.box.writes == 0
