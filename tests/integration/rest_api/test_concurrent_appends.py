"""Many writers at once on one context, through rest-api: nothing is lost, and order is kept."""

import asyncio

import httpx2
import pytest

from support.services import new_key, running_rest, settings_for

WRITERS = 64
REQUESTS = 3
TOGETHER = 2


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.app_url, redis_url, embedding_provider="lexical")


async def test_64_writers_lose_nothing_and_each_keeps_its_order(database, settings):
    """I1, I5: one context, one caller's key, a pool of four connections."""
    key = await new_key(database.owner_url)
    limits = httpx2.Limits(max_connections=WRITERS)
    async with (
        running_rest(settings) as url,
        httpx2.AsyncClient(base_url=url, headers={"X-API-Key": key}, limits=limits, timeout=60) as http,
    ):
        context = (await http.post("/api/v1/contexts", json={"title": "crowded"})).json()
        path = f"/api/v1/contexts/{context['id']}/items"

        async def write(writer: int) -> list[tuple[str, int]]:
            told = []
            for number in range(REQUESTS):
                texts = [f"{writer}:{number}:{n}" for n in range(TOGETHER)]
                answer = await http.post(path, json={"items": [{"text": text} for text in texts]})
                assert answer.status_code == 201
                told += [(item["text"], item["position"]) for item in answer.json()["items"]]
            return told

        told = await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
        stored: list[tuple[str, int]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = (
                await http.get(path, params={"limit": 100} | ({"cursor": cursor} if cursor else {}))
            ).json()
            stored += [(item["text"], item["position"]) for item in page["items"]]
            cursor = page["next_cursor"]
        counted = (await http.get(path.removesuffix("/items"))).json()
        found = (await http.post("/api/v1/search", json={"query": "63:2:1", "limit": 50})).json()

    assert [position for _, position in stored] == list(range(1, WRITERS * REQUESTS * TOGETHER + 1))
    assert sorted(stored) == sorted(pair for writer in told for pair in writer), (
        "what was told is what is there"
    )
    for writer in told:
        positions = [position for _, position in writer]
        assert positions == sorted(positions)
        assert all(b == a + 1 for a, b in zip(positions[::TOGETHER], positions[1::TOGETHER], strict=True))
    assert counted["item_count"] == len(stored)
    assert "63:2:1" in [hit["passage"]["text"] for hit in found["hits"]]
