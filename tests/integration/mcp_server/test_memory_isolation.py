"""Planted sentences: whatever is asked, by whatever way, nobody is shown what another tenant, or another principal, has written."""

import json
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx2
from mcp.shared.exceptions import MCPError

from devops_mcp.cache.notices import Notices
from devops_mcp.cache.redis import open_redis
from devops_mcp.events.messages import EventReceived
from devops_mcp.events.model import DeploymentEvent
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.events import EventProcessor
from devops_mcp.repositories.database import open_database
from devops_mcp.repositories.events import Acceptance
from support.agents import STATELESS, agent
from support.services import new_key, running_mcp, running_rest, settings_for
from support.tenants import add_tenant

OTHER_TENANT = UUID("00000000-0000-7000-8000-000000000009")
WORDS = ("gateway", "certificate", "ledger", "disk", "latency", "rollback", "checkout", "night", "restart")
GRANTS = ("contexts:read", "contexts:write", "search:read", "events:read", "tools:*")
ASKED = 12


@dataclass
class Somebody:
    """A principal, what is planted for it, and what it has."""

    name: str
    tenant_id: UUID
    http: httpx2.AsyncClient
    mcp: Any
    context_id: str = ""
    event_ids: tuple[str, ...] = ()

    @property
    def canary(self) -> str:
        return f"canary{self.name}"

    @property
    def tenants_canary(self) -> str:
        return f"release{str(self.tenant_id)[-1]}"

    def sentence(self, chance: random.Random) -> str:
        return f"{' '.join(chance.choices(WORDS, k=6))} {self.canary} {' '.join(chance.choices(WORDS, k=4))}"

    async def plant(self, chance: random.Random) -> None:
        created = await self.http.post("/api/v1/contexts", json={"title": f"{self.canary} at night"})
        self.context_id = created.json()["id"]
        items = [{"text": self.sentence(chance), "pinned": n == 3} for n in range(20)]
        items.append({"text": f"{self.sentence(chance)}\n" * 800})
        assert (await self.http.post(f"{self.path}/items", json={"items": items})).status_code == 201
        file = await self.http.post(
            "/api/v1/attachments",
            params={"context_id": self.context_id, "name": f"{self.canary}.log"},
            content=self.canary.encode(),
        )
        assert file.status_code == 201
        assert (await self.http.post(f"{self.path}/snapshots", json={"name": self.canary})).status_code == 201

    @property
    def path(self) -> str:
        return f"/api/v1/contexts/{self.context_id}"


async def happen(worker_url: str, redis_url: str, somebody: Somebody) -> str:
    """A deployment of the tenant's; the id of its event."""
    event = DeploymentEvent(
        id=new_id(), tenant_id=somebody.tenant_id, system="ci", source="ci", subject="acme/shop",
        title=f"checkout {somebody.tenants_canary}", occurred_at=datetime(2026, 11, 1, tzinfo=UTC),
        type="deployment.finished", service="checkout", environment="production",
        version=somebody.tenants_canary, state="success",
    )  # fmt: skip
    async with (
        open_database(worker_url, pool_size=1, application="worker") as database,
        open_redis(redis_url, command_timeout_s=2) as redis,
    ):
        async with database.transaction(somebody.tenant_id) as tx:
            await tx.events.accept(Acceptance.of([event], [f"id:{event.id}"], b"{}"))
        message = EventReceived(id=new_id(), tenant_id=somebody.tenant_id, event_id=event.id)
        processor = EventProcessor(database, Notices(redis, Metrics()), embeds=False)
        await processor.process(somebody.tenant_id, [message])
    return str(event.id)


async def over_rest(asking: Somebody, target: Somebody, query: str) -> list[str]:
    """Everything that is answered about the target's context, and by searches that name nobody."""
    get, post = asking.http.get, asking.http.post
    answers = [
        await get(f"{target.path}/window", params={"query": query, "max_tokens": 4_000}),
        await get(f"{target.path}/window"),
        await get(f"{target.path}/items"),
        await get(f"{target.path}/export"),
        await get(f"{target.path}/snapshots"),
        await get(f"{target.path}/items/22/content"),
        await post(f"{target.path}/fork", json={"title": "mine now"}),
        await post("/api/v1/search", json={"query": query, "limit": 50, "neighbours": 5}),
        await post("/api/v1/search", json={"query": query, "limit": 50, "as_of": "2100-01-01T00:00:00Z"}),
        await post("/api/v1/search", json={"query": query, "context_id": target.context_id}),
        await get("/api/v1/contexts", params={"limit": 100}),
        await get("/api/v1/facts", params={"history": "true", "limit": 100}),
        await get("/api/v1/facts", params={"subject": "checkout@*"}),
        await get("/api/v1/events", params={"limit": 100}),
        *[await get(f"/api/v1/events/{id_}") for id_ in target.event_ids],
        *[
            await post("/api/v1/search", json={"query": query, "before_event": id_})
            for id_ in target.event_ids
        ],
    ]
    return [answer.text for answer in answers]


async def over_mcp(asking: Somebody, target: Somebody, query: str) -> list[str]:
    texts = []
    calls = [
        ("context_get", {"context_id": target.context_id, "limit": 100}),
        ("context_search", {"query": query, "limit": 50}),
        ("context_search", {"query": query, "context_id": target.context_id}),
        (
            "tools_read",
            {"name": "context_window", "arguments": {"context_id": target.context_id, "query": query}},
        ),
        ("tools_read", {"name": "fact_list", "arguments": {"history": True, "limit": 100}}),
    ]
    for name, arguments in calls:
        result = await asking.mcp.call_tool(name, arguments)
        texts.append(json.dumps(result.model_dump(mode="json")))
    texts.append(str(await asking.mcp.list_resources()))
    resources = [
        f"devops://contexts/{target.context_id}",
        f"devops://search/{query.replace(' ', '%20')}",
        "devops://events/ci/acme/shop",
        *(f"devops://events/{id_}" for id_ in target.event_ids),
    ]
    for uri in resources:
        try:
            texts.append(str(await asking.mcp.read_resource(uri)))
        except MCPError as error:
            texts.append(str(error))
    return texts


@asynccontextmanager
async def everybody_of(database, redis_url) -> AsyncIterator[list[Somebody]]:
    """Two principals of one tenant and one of another, over REST and MCP."""
    add_tenant(database, OTHER_TENANT)
    rest = settings_for(database.app_url, redis_url, embedding_provider="lexical")
    mcp = settings_for(database.mcp_url, redis_url, embedding_provider="lexical")
    async with AsyncExitStack() as stack:
        rest_url = await stack.enter_async_context(running_rest(rest))
        mcp_url = await stack.enter_async_context(running_mcp(mcp))
        people = []
        for name, tenant_id in (
            ("ada", DEFAULT_TENANT_ID),
            ("bob", DEFAULT_TENANT_ID),
            ("eve", OTHER_TENANT),
        ):
            key = await new_key(database.owner_url, *GRANTS, tenant_id=tenant_id, name=name)
            headers = {"X-API-Key": key}
            http = await stack.enter_async_context(
                httpx2.AsyncClient(base_url=rest_url, headers=headers, timeout=60)
            )
            client = await stack.enter_async_context(agent("http", mcp_url, key, STATELESS))
            people.append(Somebody(name, tenant_id, http, client))
        yield people


async def test_nobody_is_shown_what_another_has_planted(database, redis_url):
    """T01, T02, I9: random sentences of shared words, random questions, every pair of a principal and a context."""
    chance = random.Random(6)
    async with everybody_of(database, redis_url) as everybody:
        for somebody in everybody:
            await somebody.plant(chance)
        for somebody in (everybody[0], everybody[2]):
            somebody.event_ids = (await happen(database.worker_url, redis_url, somebody),)
        for number in range(ASKED):
            asking, target = everybody[number % 3], chance.choice(everybody)
            query = " ".join([*chance.sample(WORDS, 3), *(other.canary for other in everybody)])
            told = "\n".join(await over_rest(asking, target, query) + await over_mcp(asking, target, query))
            told = told.replace(query, "").replace(query.replace(" ", "%20"), "")
            assert asking.canary in told, "its own is found, so that the others' could be"
            assert asking.tenants_canary in told
            for other in everybody:
                if other is not asking:
                    assert other.canary not in told, (asking.name, other.name)
                if other.tenant_id != asking.tenant_id:
                    assert other.tenants_canary not in told, (asking.name, other.name)


async def test_an_event_of_another_tenant_is_no_moment_to_ask_about(database, redis_url):
    """T01"""
    async with everybody_of(database, redis_url) as (ada, _, eve):
        event_id = await happen(database.worker_url, redis_url, ada)
        nothing = str(new_id())
        theirs, absent = [
            [
                await eve.http.get("/api/v1/facts", params={"before_event": id_}),
                await eve.http.post("/api/v1/search", json={"query": "checkout", "before_event": id_}),
            ]
            for id_ in (event_id, nothing)
        ]
    for their, none in zip(theirs, absent, strict=True):
        assert their.status_code == none.status_code == 404
        assert their.json()["detail"].replace(event_id, nothing) == none.json()["detail"]
