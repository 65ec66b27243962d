"""Models, vectors and their cost over REST, with a service that answers as OpenAI does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from devops_mcp.models.ids import new_id
from support.embedding import vector_of
from support.embedding_services import EmbeddingFake, openai, openai_error
from support.rest import Rest, a_caller
from support.servers import serve
from support.services import settings_for
from support.tenants import add_tenant

ME, OTHER_TENANT = new_id(), new_id()
PATH = "/api/v1/embeddings"


@asynccontextmanager
async def world(
    database, redis_url, *grants: str, **changes: Any
) -> AsyncIterator[tuple[Rest, EmbeddingFake]]:
    fake = EmbeddingFake(openai)
    async with serve(fake) as url:
        common = {"provider": "openai", "dimensions": 8, "base_url": url}
        models = [
            {"name": "dear", "price_per_million_tokens": 1_000_000, "max_tokens": 20, **common},
            {"name": "spare", "space": "dear/8", **common},
        ]
        chat = {
            "base_url": url,
            "model": "house/writer",
            "price_per_million_output_tokens": 8,
            "max_tokens": 128_000,
        }
        settings = settings_for(database.app_url, redis_url, embedding_models=models, summary_model=chat)
        async with a_caller(database, settings, *grants, **{"id": ME, **changes}) as rest:
            yield rest, fake


async def test_models_are_listed_and_chosen(database, redis_url):
    async with world(database, redis_url) as (rest, _):
        listed = (await rest("GET", "/api/v1/models")).json()
        alone = [
            await rest("GET", "/api/v1/models/embedding/spare"),
            await rest("GET", "/api/v1/models/language/house%2Fwriter"),
            await rest.http.get("/api/v1/models/language/house/writer"),
            await rest("GET", "/api/v1/models/language/house"),
        ]
        chosen = await rest("PUT", "/api/v1/models/choice", json={"model": "spare"})
        unknown = await rest("PUT", "/api/v1/models/choice", json={"model": "none"})
        of_tenant = await rest("PUT", "/api/v1/models/choice", json={"model": "dear", "tenant": True})
        after = (await rest("GET", "/api/v1/models")).json()
        metrics = (await rest.http.get("/metrics")).text
    kinds = [(model["kind"], model["name"]) for model in listed["items"]]
    assert kinds == sorted(kinds)
    assert {("embedding", "dear"), ("embedding", "spare")} < set(kinds)
    assert [name for kind, name in kinds if kind == "language"] == ["house/writer"]
    writer = listed["items"][-1]
    assert (writer["provider"], writer["used_for"], writer["dimensions"]) == ("openai", "summaries", None)
    assert (writer["max_tokens"], writer["max_output_tokens"]) == (128_000, 800)
    assert (writer["price_per_million_tokens"], writer["price_per_million_output_tokens"]) == (None, 8)
    assert listed["items"][0]["is_default"]
    assert listed["items"][0]["stands_in_for"] == ["spare"]
    assert [answer.status_code for answer in alone] == [200, 200, 200, 404]
    assert [answer.json()["name"] for answer in alone[:3]] == ["spare", "house/writer", "house/writer"]
    assert listed["mine"] is listed["tenant"] is None
    assert (chosen.status_code, unknown.status_code, of_tenant.status_code) == (200, 404, 200)
    assert (after["mine"]["model"], after["tenant"]["model"]) == ("spare", "dear")
    assert after["mine"]["owner_id"] == str(ME)
    assert 'devops_mcp_upstream_breaker_open{integration="embedding:dear"} 0.0' in metrics


async def test_a_text_is_paid_for_once_and_accounted_for(database, redis_url):
    async with world(database, redis_url) as (rest, fake):
        first = (await rest("POST", PATH, json={"input": ["one two", "three", "one two"]})).json()
        again = (await rest("POST", PATH, json={"input": ["three", "four"]})).json()
        asked = [body["input"] for body in fake.bodies]
        usage = (await rest("GET", "/api/v1/usage/embeddings")).json()
        mine = (await rest("GET", "/api/v1/usage/embeddings", params={"principal_id": str(ME)})).json()
        nobodys = (
            await rest("GET", "/api/v1/usage/embeddings", params={"principal_id": str(new_id())})
        ).json()
    assert asked == [["one two", "three"], ["four"]]
    assert first["vectors"] == [vector_of(text, 8) for text in ("one two", "three", "one two")]
    assert again["vectors"] == [vector_of("three", 8), vector_of("four", 8)]
    assert (first["tokens"], first["cached"], again["tokens"], again["cached"]) == (3, 1, 1, 1)
    assert usage == mine
    [day] = usage["items"]
    assert (day["model"], day["texts"], day["cached"], day["tokens"], day["cost_usd"]) == (
        "dear",
        5,
        2,
        4,
        4.0,
    )
    assert (usage["tokens"], usage["cost_usd"], nobodys["items"]) == (4, 4.0, [])


async def test_tenants_share_neither_what_was_paid_for_nor_the_bill(database, redis_url):
    """T02"""
    add_tenant(database, OTHER_TENANT)
    async with world(database, redis_url) as (rest, _):
        await rest("POST", PATH, json={"input": ["a secret plan"]})
    async with world(database, redis_url, tenant_id=OTHER_TENANT) as (theirs, fake):
        answer = (await theirs("POST", PATH, json={"input": ["a secret plan"]})).json()
        usage = (await theirs("GET", "/api/v1/usage/embeddings")).json()
    assert (answer["cached"], len(fake.bodies), usage["texts"]) == (0, 1, 1)


async def test_another_of_the_space_stands_in_and_is_the_one_accounted_to(database, redis_url):
    async with world(database, redis_url) as (rest, fake):
        fake.first = [openai_error(401, "invalid_api_key")]
        answer = (await rest("POST", PATH, json={"input": ["x"]})).json()
        usage = (await rest("GET", "/api/v1/usage/embeddings")).json()
    assert answer["model"] == usage["items"][0]["model"] == "spare"
    assert usage["cost_usd"] == 0


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"input": []}, 422),
        ({"input": [""]}, 200),
        ({"input": ["x"] * 129}, 422),
        ({"input": ["x"], "model": "none"}, 404),
        ({"input": ["word " * 100]}, 422),
        ({"input": ["x"], "purpose": "fun"}, 422),
    ],
)
async def test_what_cannot_be_embedded_is_refused(database, redis_url, body, status):
    async with world(database, redis_url) as (rest, fake):
        answer = await rest("POST", PATH, json=body)
    assert answer.status_code == status
    assert bool(fake.bodies) == (status == 200)


async def test_who_lacks_the_permission_is_refused(database, redis_url):
    async with world(database, redis_url, "search:read", "usage:own") as (rest, fake):
        answers = [
            await rest("POST", PATH, json={"input": ["x"]}),
            await rest("PUT", "/api/v1/models/choice", json={"model": "spare"}),
            await rest("PUT", "/api/v1/models/choice", json={"model": "spare", "owner_id": str(new_id())}),
            await rest("GET", "/api/v1/usage/embeddings"),
            await rest("GET", "/api/v1/usage/embeddings", params={"principal_id": str(new_id())}),
        ]
        own = await rest("GET", "/api/v1/usage/embeddings", params={"principal_id": str(ME)})
    assert [answer.status_code for answer in answers] == [403] * 5
    assert own.status_code == 200
    assert fake.bodies == []


async def test_a_search_by_a_service_that_is_down_goes_by_words(database, redis_url):
    async with world(database, redis_url) as (rest, fake):
        context = (await rest("POST", "/api/v1/contexts", json={"title": "t"})).json()
        path = f"/api/v1/contexts/{context['id']}/items"
        await rest("POST", path, json={"items": [{"text": "needle"}]})
        fake.first = [openai_error(401, "invalid_api_key")] * 2
        down = (await rest("POST", "/api/v1/search", json={"query": "needle"})).json()
        up = (await rest("POST", "/api/v1/search", json={"query": "needle"})).json()
    assert (down["mode"], up["mode"], up["spaces"]) == ("lexical", "hybrid", ["dear/8"])
    assert len(down["hits"]) == len(up["hits"]) == 1
