"""The search over REST: each filter, the order, and what is said of a hit."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from devops_mcp.models.base import utc_now
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.passages import NewPassage, PassageKind
from devops_mcp.repositories.database import open_database
from support.happenings import happen
from support.rest import Rest, a_caller
from support.services import settings_for

AGENT, OTHER = new_id(), new_id()
TEXTS = {
    "github run": ("the checkout build failed", {"system": "github", "source": "gh", "subject": "acme/shop"}),
    "gitlab run": ("the billing build failed", {"system": "gitlab", "source": "gl", "subject": "acme/pay"}),
    "alert": ("latency of checkout is high", {"system": "prometheus", "labels": {"severity": "page"}}),
}
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


def passage(title: str, age_days: float = 0.0) -> NewPassage:
    text, metadata = TEXTS[title]
    return NewPassage(
        kind=PassageKind.EVENT,
        source_id=new_id(),
        title=title,
        text=text,
        uri="devops://events/1",
        occurred_at=utc_now() - timedelta(days=age_days),
        metadata=metadata,
    )


async def index(database, *passages: NewPassage, owner=None) -> None:
    async with (
        open_database(database.app_url, pool_size=1, application="test") as opened,
        opened.transaction(DEFAULT_TENANT_ID) as tx,
    ):
        await tx.passages.add([(new_id(), passage) for passage in passages], owner_id=owner)


@pytest.fixture
async def rest(database, redis_url) -> AsyncIterator[Rest]:
    settings = settings_for(database.app_url, redis_url, embedding_provider="lexical")
    async with a_caller(database, settings, id=AGENT) as caller:
        yield caller


async def titles(rest: Rest, query: str = "build checkout latency", **question) -> list[str]:
    answer = await rest("POST", "/api/v1/search", json={"query": query, **question})
    assert answer.status_code == 200, answer.text
    return [hit["passage"]["title"] for hit in answer.json()["hits"]]


FILTERS = {
    "system": ({"systems": ["gitlab"]}, {"gitlab run"}),
    "systems": ({"systems": ["gitlab", "prometheus"]}, {"gitlab run", "alert"}),
    "integration": ({"sources": ["gh"]}, {"github run"}),
    "subject": ({"subject": "acme/pay"}, {"gitlab run"}),
    "metadata": ({"metadata": {"labels": {"severity": "page"}}}, {"alert"}),
    "since": ({"since": "2026-01-01T00:00:00Z"}, set(TEXTS)),
    "until": ({"until": "2026-01-01T00:00:00Z"}, set()),
    "another kind": ({"kinds": ["context_item"]}, set()),
    "several": ({"systems": ["github", "gitlab"], "subject": "acme/shop"}, {"github run"}),
    "owner": ({"owner_id": str(AGENT)}, set()),
    "none of that": ({"metadata": {"labels": {"severity": "info"}}}, set()),
}


async def test_each_filter_keeps_what_it_says(database, rest):
    await index(database, *map(passage, TEXTS))
    for name, (question, expected) in FILTERS.items():
        assert set(await titles(rest, **question)) == expected, name


async def test_an_owners_own_are_told_from_the_tenants(database, rest):
    await index(database, passage("github run"), owner=OTHER)
    await index(database, passage("gitlab run"))
    assert set(await titles(rest)) == {"github run", "gitlab run"}
    assert await titles(rest, owner_id=str(OTHER)) == ["github run"]


async def test_age_counts_as_much_as_is_asked_for(database, rest):
    await index(database, passage("github run", age_days=300), passage("gitlab run", age_days=1))
    by_words = await titles(rest, "checkout build")
    weighed = await rest(
        "POST",
        "/api/v1/search",
        json={"query": "checkout build", "recency_weight": 0.8, "half_life_days": 7},
    )
    newer, older = weighed.json()["hits"]
    assert by_words == ["github run", "gitlab run"]
    assert [hit["passage"]["title"] for hit in (newer, older)] == ["gitlab run", "github run"]
    assert older["explanation"]["recency"] == pytest.approx(0.2, abs=0.001)
    assert newer["explanation"]["recency"] == pytest.approx(0.2 + 0.8 * 0.5 ** (1 / 7), abs=0.001)


async def test_a_very_old_passage_is_found_however_much_age_counts(database, rest):
    await index(database, passage("github run", age_days=700))
    assert await titles(rest, recency_weight=1, half_life_days=0.01) == ["github run"]


async def test_a_score_is_explained_and_its_words_are_marked(database, rest):
    await index(database, passage("github run"), passage("alert"))
    answer = await rest("POST", "/api/v1/search", json={"query": "why did the build of checkout fail?"})
    first, second = answer.json()["hits"]
    assert first["highlights"] == ["**checkout** **build** **failed**"]
    assert second["highlights"] == ["latency of **checkout** is high"]
    assert (first["lexical_rank"], first["vector_rank"]) == (1, None)
    explained = first["explanation"]
    assert first["score"] == pytest.approx(explained["fused"] * explained["recency"])
    assert (explained["coverage"], second["explanation"]["coverage"]) == pytest.approx((1.0, 1 / 3))
    assert explained["fused"] > second["explanation"]["fused"] > 0
    assert explained["relevance"] > second["explanation"]["relevance"] > 0
    assert explained["distance"] is explained["space"] is None


async def test_a_hit_comes_with_the_items_around_it(database, rest):
    context = (await rest("POST", "/api/v1/contexts", json={"title": "incident"})).json()
    texts = ["first", "second", "the needle", "fourth", "fifth"]
    path = f"/api/v1/contexts/{context['id']}/items"
    await rest("POST", path, json={"items": [{"text": text} for text in texts]})
    answer = await rest("POST", "/api/v1/search", json={"query": "needle", "neighbours": 1})
    [hit] = answer.json()["hits"]
    assert [(n["offset"], n["text"]) for n in hit["neighbours"]] == [(-1, "second"), (1, "fourth")]
    assert hit["neighbours"][0]["uri"] == f"devops://contexts/{context['id']}#2"


async def test_an_event_comes_with_those_of_its_subject_around_it(database, redis_url, rest):
    events = await happen(database.worker_url, redis_url, 1, 2, 3)
    answer = await rest("POST", "/api/v1/search", json={"query": "failed build", "neighbours": 5})
    around = {
        hit["passage"]["source_id"]: [(n["offset"], n["uri"]) for n in hit["neighbours"]]
        for hit in answer.json()["hits"]
    }
    uris = [f"devops://events/{id_}" for id_ in events]
    assert around[str(events[1])] == [(-1, uris[0]), (1, uris[2])]
    assert around[str(events[0])] == [(1, uris[1]), (2, uris[2])]


async def test_the_past_knows_nothing_of_what_came_later(rest):
    """Neither as a hit nor beside one, and age counts from then."""
    context = (await rest("POST", "/api/v1/contexts", json={"title": "incident"})).json()
    path = f"/api/v1/contexts/{context['id']}/items"
    said = [await rest("POST", path, json={"items": [{"text": f"needle {n}"}]}) for n in range(3)]
    then = said[1].json()["items"][0]["created_at"]
    asked = {"query": "needle", "neighbours": 5, "as_of": then, "recency_weight": 1.0, "half_life_days": 0.01}
    hits = (await rest("POST", "/api/v1/search", json=asked)).json()["hits"]
    assert [hit["passage"]["text"] for hit in hits] == ["needle 1", "needle 0"]
    assert [[n["text"] for n in hit["neighbours"]] for hit in hits] == [["needle 0"], ["needle 1"]]
    assert hits[0]["explanation"]["recency"] == 1.0


@pytest.mark.parametrize(
    ("moment", "found"),
    [
        ("9999-12-31T23:59:59.999999Z", True),
        ("9999-12-31T23:59:59-14:00", True),
        ("0001-01-01T00:00:00Z", False),
        ("0001-01-01T00:00:00+14:00", False),
    ],
)
async def test_the_ends_of_time_can_be_asked_for(database, rest, moment, found):
    await index(database, passage("github run"))
    assert bool(await titles(rest, "failed build", as_of=moment)) == found
    assert bool(await titles(rest, "failed build", until=moment)) == found
    assert bool(await titles(rest, "failed build", since=moment)) != found


async def test_before_an_event_is_what_had_happened_when_it_did(database, redis_url, rest):
    [event] = await happen(database.worker_url, redis_url, 1)
    occurred = (await rest("GET", f"/api/v1/events/{event}")).json()["occurred_at"]
    age = utc_now() - datetime.fromisoformat(occurred)
    await index(database, passage("github run", age_days=age / timedelta(days=1) + 1), passage("gitlab run"))
    assert len(await titles(rest, "failed build")) == 3
    assert await titles(rest, "failed build", before_event=str(event)) == ["github run"]
    asked = {"query": "build", "before_event": str(new_id())}
    assert (await rest("POST", "/api/v1/search", json=asked)).status_code == 404
    both = {"query": "build", "before_event": str(event), "as_of": occurred}
    assert (await rest("POST", "/api/v1/search", json=both)).status_code == 422


@pytest.mark.parametrize(
    "wrong",
    [
        {"recency_weight": 1.1},
        {"half_life_days": 0},
        {"neighbours": 6},
        {"limit": 51},
        {"systems": ["x"] * 21},
        {"order": "id; DROP TABLE passages"},
    ],
)
async def test_what_cannot_be_asked_is_refused(rest, wrong):
    """I01"""
    answer = await rest("POST", "/api/v1/search", json={"query": "x", **wrong})
    assert answer.status_code == 422
