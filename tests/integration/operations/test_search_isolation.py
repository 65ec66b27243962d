"""What is another's appears nowhere: planted sentences, and every way of asking for them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest

from devops_mcp.embedding.catalogue import EmbeddingModels
from devops_mcp.models.contexts import NewItem
from devops_mcp.models.errors import NotFound
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.passages import NewPassage, PassageKind, Question
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.models.windows import WindowRequest
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.contexts import ContextService
from devops_mcp.operations.search import SearchService
from devops_mcp.operations.windows import WindowService
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.passages import SearchFilter
from support.agents import STATELESS, agent
from support.embedding import LOCAL_SPACE, FakeProvider, vector_of
from support.services import new_key, running_mcp, settings_for
from support.tenants import add_tenant

ANOTHER_TENANT = UUID("00000000-0000-7000-8000-000000000002")
WORDS = ("vault", "green", "password", "rotation", "checkout", "failed", "canary")


@dataclass(frozen=True)
class Holder:
    """A principal, and the word that only its texts hold."""

    principal: Principal
    canary: str


def holder(tenant_id: UUID, name: str) -> Holder:
    principal = Principal(
        id=new_id(),
        tenant_id=tenant_id,
        kind=PrincipalKind.AGENT,
        name=name,
        grants=("search:read", "contexts:read", "contexts:write"),
    )
    return Holder(principal, f"canary{name}{new_id().hex[:8]}")


HOLDERS = [
    holder(DEFAULT_TENANT_ID, "one"),
    holder(DEFAULT_TENANT_ID, "two"),
    holder(ANOTHER_TENANT, "three"),
]


async def plant(database: Database, held: Holder) -> UUID:
    """A context of items that all hold the canary, and an event of its tenant; each is found by words and by meaning."""
    service = ContextService(database, embeds=False)
    context = await service.create(held.principal, f"plan {held.canary}", {})
    items = [NewItem(text=f"{held.canary} {' '.join(WORDS)} {number}") for number in range(6)]
    await service.append(held.principal, context.id, items)
    event = NewPassage(
        kind=PassageKind.EVENT,
        source_id=new_id(),
        title="event",
        text=f"{_of_tenant(held.principal.tenant_id)} {' '.join(WORDS)}",
        uri="devops://events/1",
        occurred_at=context.created_at,
    )
    async with database.transaction(held.principal.tenant_id) as tx:
        await tx.passages.add([(new_id(), event)], owner_id=None)
        hits = await tx.passages.search(WORDS[0], [], SearchFilter(held.principal.id), 50)
        await tx.passages.set_vectors(LOCAL_SPACE, [(hit.passage.id, vector_of("")) for hit in hits])
    return context.id


def _of_tenant(tenant_id: UUID) -> str:
    return f"tenant{tenant_id.hex}"


def a_question(chance: random.Random, contexts: Sequence[UUID]) -> Question:
    """Words and canaries, asked in any way there is."""
    canaries = [held.canary for held in HOLDERS]
    return Question(
        query=" ".join(chance.sample([*WORDS, *canaries], chance.randint(1, 5))),
        kinds=chance.choice([(), tuple(PassageKind)]),
        context_id=chance.choice([None, None, *contexts]),
        owner_id=chance.choice([None, None, *(held.principal.id for held in HOLDERS)]),
        since=chance.choice([None, datetime(2026, 1, 1, tzinfo=UTC)]),
        as_of=chance.choice([None, datetime(2100, 1, 1, tzinfo=UTC)]),
        neighbours=chance.randint(0, 5),
        exact=chance.random() < 0.5,
        recency_weight=chance.random(),
        limit=chance.choice([1, 5, 50]),
    )


async def test_no_question_brings_up_anothers_text(database):
    """T02: in no passage, title, highlight or neighbour, for an owner of the same tenant and for one of another."""
    chance = random.Random(11)
    add_tenant(database, ANOTHER_TENANT)
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        contexts = [await plant(opened, held) for held in HOLDERS]
        service = SearchService(opened, EmbeddingModels([FakeProvider(alike=True)]), Metrics())
        found = 0
        for _ in range(80):
            question = a_question(chance, contexts)
            for held in HOLDERS:
                try:
                    said = (await service.ask(held.principal, question)).model_dump_json()
                except NotFound as error:
                    said = error.message
                    assert question.context_id not in (None, contexts[HOLDERS.index(held)])
                found += held.canary in said
                others = [other for other in HOLDERS if other is not held]
                strangers = [o for o in others if o.principal.tenant_id != held.principal.tenant_id]
                assert not [other.canary for other in others if other.canary in said], question
                assert not [o for o in strangers if _of_tenant(o.principal.tenant_id) in said], question
    assert found > 50  # the questions do find the asker's own


async def test_no_window_shows_anothers_text_however_alike_it_is(database):
    """T01, T02: every vector is the same, so that only whose it is tells one text from another."""
    chance = random.Random(12)
    add_tenant(database, ANOTHER_TENANT)
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        contexts = [await plant(opened, held) for held in HOLDERS]
        search = SearchService(opened, EmbeddingModels([FakeProvider(alike=True)]), Metrics())
        windows = WindowService(opened, search, ContextService(opened, embeds=False))
        for held, own in zip(HOLDERS, contexts, strict=True):
            for context_id in contexts:
                query = " ".join(chance.sample([*WORDS, *(other.canary for other in HOLDERS)], 5))
                wanted = WindowRequest(max_tokens=chance.choice([100, 400, 4_000]), query=query)
                if context_id != own:
                    with pytest.raises(NotFound):
                        await windows.window(held.principal, context_id, wanted)
                    continue
                window = await windows.window(held.principal, context_id, wanted)
                said = window.model_dump_json()
                assert (window.mode, held.canary in said) == ("hybrid", True)
                assert not [other for other in HOLDERS if other is not held and other.canary in said]


async def test_the_owners_functions_know_no_tenant_but_the_transactions(database):
    """T02, T04: with every filter open, and for everybody's passages."""
    add_tenant(database, ANOTHER_TENANT)
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        for held in HOLDERS:
            await plant(opened, held)
    open_filters = "gen_random_uuid(), true, NULL, '{}', NULL, '{}', '{}', NULL, NULL, NULL, NULL"
    with psycopg.connect(database.app_url) as connection:
        for tenant, expected in ((str(ANOTHER_TENANT), 7), (str(DEFAULT_TENANT_ID), 14), ("", 0)):
            connection.execute("SELECT set_config('app.tenant', %s, true)", (tenant,))
            words = connection.execute(
                f"SELECT count(*) FROM passages_by_words('vault', {open_filters}, 100)"
            ).fetchone()
            few = connection.execute(f"SELECT cardinality(few_passages({open_filters}, 100))").fetchone()
            assert (words, few) == ((expected,), (expected,))


@pytest.mark.parametrize("others", ["owner", "tenant"])
async def test_over_mcp_anothers_text_is_in_no_answer_and_no_resource(database, redis_url, others):
    """T01"""
    add_tenant(database, ANOTHER_TENANT)
    planted, asker = HOLDERS[0], HOLDERS[1 if others == "owner" else 2]
    settings = settings_for(database.mcp_url, redis_url, embedding_provider="lexical")
    grants = ("search:read", "contexts:read", "tools:read:*")
    key = await new_key(
        database.owner_url, *grants, id=asker.principal.id, tenant_id=asker.principal.tenant_id
    )
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        await plant(opened, planted)
        await plant(opened, asker)
    async with running_mcp(settings) as url, agent("http", url, key, STATELESS) as client:
        arguments = {"query": f"{planted.canary} vault password", "neighbours": 5, "limit": 50}
        called = await client.call_tool("context_search", arguments)
        read = await client.read_resource(f"devops://search/{planted.canary}%20vault%20password")
    for said in (called.model_dump_json(), read.model_dump_json()):
        assert asker.canary in said
        # The question itself may be repeated, as in the resource's address.
        assert f"{planted.canary} {WORDS[0]} {WORDS[1]}" not in said
        assert f"plan {planted.canary}" not in said
