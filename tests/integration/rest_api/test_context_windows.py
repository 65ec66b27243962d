"""A context's window over REST, and its speed beside that of the bare queries."""

import time
from statistics import median

import psycopg
import pytest

from devops_mcp.models.ids import DEFAULT_TENANT_ID
from support.rest import Rest, a_caller
from support.services import settings_for

LONG = 10_000


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.app_url, redis_url, embedding_provider="lexical")


async def a_context(rest: Rest, *items: dict) -> str:
    created = await rest("POST", "/api/v1/contexts", json={"title": "checkout incident"})
    path = f"/api/v1/contexts/{created.json()['id']}"
    for start in range(0, len(items), 50):
        appended = await rest("POST", f"{path}/items", json={"items": items[start : start + 50]})
        assert appended.status_code == 201
    return path


async def window(rest: Rest, path: str, **wanted) -> dict:
    answer = await rest("GET", f"{path}/window", params=wanted)
    assert answer.status_code == 200
    return answer.json()


def reasons(found: dict) -> dict[int, str]:
    return {item["position"]: item["why"] for item in found["items"]}


async def test_a_window_says_why_each_item_is_there(database, settings):
    items = [{"text": f"step {n}: nothing special was seen on node {n}"} for n in range(1, 61)]
    items[0] |= {"role": "system", "text": "you are on call for checkout"}
    items[9] |= {"pinned": True, "text": "the customer may not be called"}
    items[19] |= {"text": "the certificate of the payment gateway expired"}
    async with a_caller(database, settings) as rest:
        path = await a_context(rest, *items)
        found = await window(rest, path, max_tokens=200, query="which certificate expired?")
    assert {n: why for n, why in reasons(found).items() if n < 40} == {
        1: "system",
        10: "pinned",
        20: "relevant",
    }
    recent = [position for position, why in reasons(found).items() if why == "recent"]
    assert recent == list(range(recent[0], 61))
    assert found["tokens"] == sum(item["tokens"] for item in found["items"]) <= 200
    assert (found["mode"], found["item_count"]) == ("lexical", 60)


async def test_pinning_keeps_an_item_in_the_window_until_it_is_let_go(database, settings):
    async with a_caller(database, settings) as rest:
        path = await a_context(rest, *({"text": f"finding number {n} of many"} for n in range(1, 101)))
        assert 3 not in reasons(await window(rest, path, max_tokens=100))
        assert (await rest("PUT", f"{path}/items/3/pin")).status_code == 204
        pinned = await window(rest, path, max_tokens=100)
        assert (await rest("DELETE", f"{path}/items/3/pin")).status_code == 204
        after = await window(rest, path, max_tokens=100)
        missing = await rest("PUT", f"{path}/items/101/pin")
    assert (reasons(pinned)[3], pinned["items"][0]["position"]) == ("pinned", 3)
    assert 3 not in reasons(after)
    assert missing.status_code == 404


async def test_a_summary_stands_for_what_does_not_fit(database, settings):
    async with a_caller(database, settings) as rest:
        path = await a_context(rest, *({"text": f"finding number {n} of many"} for n in range(1, 301)))
        arguments = {"context_id": path.rpartition("/")[2], "items": 300}
        called = await rest("POST", "/api/v1/tools/context_summarize/call", json={"arguments": arguments})
        assert called.status_code == 200
        found = await window(rest, path, max_tokens=1_000)
        whole = await window(rest, path, max_tokens=10_000)
    [first, *others] = found["items"]
    assert (first["why"], first["covers_from"], first["covers_to"]) == ("summary", 1, 300)
    assert {item["why"] for item in others} == {"recent"}
    assert "summary" not in reasons(whole).values(), "everything it stands for is there itself"


async def test_a_context_is_summed_up_when_asked_or_above_its_own_limit(database, settings):
    async with a_caller(database, settings) as rest:
        created = await rest("POST", "/api/v1/contexts", json={"title": "own limit", "compact_above": 100})
        path = f"/api/v1/contexts/{created.json()['id']}"
        await rest("POST", f"{path}/items", json={"items": [{"text": "one finding of many " * 20}] * 3})
        by_itself = (await rest("GET", path)).json()
        short = await a_context(rest, {"text": "short"})
        asked = await rest("POST", f"{short}/compact", json={"keep_tokens": 0})
    assert by_itself["compaction_id"]
    assert by_itself["pending_tokens"] > 100
    assert (asked.status_code, asked.json()["compacted_to"]) == (202, 0)
    assert asked.json()["compaction_id"]


async def test_of_a_long_item_the_passage_that_was_found_is_shown(database, settings):
    log = "\n".join(f"line {n} of the log says nothing" for n in range(2_000))
    needle = "the disk of the ledger database is full"
    async with a_caller(database, settings) as rest:
        path = await a_context(
            rest, {"text": f"{log}\n{needle}\n{log}"}, *({"text": f"later finding {n}"} for n in range(300))
        )
        found = await window(rest, path, max_tokens=1_000, query="ledger disk full")
    [first, *_] = found["items"]
    assert (first["position"], first["why"], first["shortened"]) == (1, "relevant", True)
    assert needle in first["text"]


def fill(database, context_id: str, count: int) -> None:
    with psycopg.connect(database.superuser_url) as connection:
        connection.execute(
            """
            WITH appended AS (
                INSERT INTO context_items (tenant_id, context_id, position, id, kind, text, tokens)
                SELECT %(tenant)s, %(context)s, n, gen_random_uuid(), 'note',
                       'finding ' || n || ' of node ' || n %% 97 || CASE WHEN n = 4711 THEN ' certificate expired' ELSE ' is quiet' END, 12
                FROM generate_series(1, %(count)s) AS n RETURNING id, position, text
            )
            INSERT INTO passages (tenant_id, id, kind, source_id, part, context_id, title, text, uri, occurred_at, metadata)
            SELECT %(tenant)s, gen_random_uuid(), 'context_item', id, 0, %(context)s, 'long', text, 'devops://x', now(),
                   jsonb_build_object('position', position)
            FROM appended
            """,
            {"tenant": DEFAULT_TENANT_ID, "context": context_id, "count": count},
        )
        connection.execute(
            "UPDATE contexts SET item_count = %s, token_count = %s WHERE id = %s",
            (count, count * 12, context_id),
        )
        connection.execute("ANALYZE context_items")
        connection.execute("ANALYZE passages")


async def test_a_window_of_ten_thousand_items_takes_little_more_than_one_of_a_hundred(database, settings):
    """A ratio within one run: the length of a context must not be what a window costs."""
    async with a_caller(database, settings) as rest:
        paths = [await a_context(rest), await a_context(rest)]
        for path, count in zip(paths, (100, LONG), strict=True):
            fill(database, path.rpartition("/")[2], count)
        taken: dict[str, list[float]] = {path: [] for path in paths}
        for _ in range(15):
            for path in paths:
                started = time.perf_counter()
                found = await window(rest, path, max_tokens=1_000, query="which certificate expired?")
                taken[path].append(time.perf_counter() - started)
    assert reasons(found)[4711] == "relevant"
    short, long = (median(taken[path]) for path in paths)
    assert long < 4 * short
