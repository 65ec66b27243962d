"""Snapshots, forks, contexts as files, and contexts that end by themselves, over REST."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from devops_mcp.auth.keyring import Keyring
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.operations.contexts import LARGE
from devops_mcp.repositories.database import open_database
from support.rest import Rest, a_caller
from support.services import new_key, settings_for
from worker.upkeep import Upkeep

LONG = "what the log of the ledger said. " * 2_000
FILE = bytes(range(256)) * 10


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.app_url, redis_url, embedding_provider="lexical")


async def a_context(rest: Rest, *items: dict, **more) -> str:
    created = await rest("POST", "/api/v1/contexts", json={"title": "incident", "metadata": {"n": 1}, **more})
    path = f"/api/v1/contexts/{created.json()['id']}"
    if items:
        assert (await rest("POST", f"{path}/items", json={"items": items})).status_code == 201
    return path


async def items_of(rest: Rest, path: str) -> list[dict]:
    items = (await rest("GET", f"{path}/items", params={"limit": 100})).json()["items"]
    return [{k: v for k, v in item.items() if k not in ("id", "context_id")} for item in items]


async def hits(rest: Rest, query: str, path: str | None = None) -> list[str]:
    body = {"query": query} | ({"context_id": path.rpartition("/")[2]} if path else {})
    return [hit["passage"]["uri"] for hit in (await rest("POST", "/api/v1/search", json=body)).json()["hits"]]


async def test_a_fork_begins_as_the_original_was_and_goes_its_own_way(database, settings):
    async with a_caller(database, settings) as rest:
        path = await a_context(rest, {"text": "the gateway is slow", "pinned": True}, {"text": LONG})
        snapshot = (await rest("POST", f"{path}/snapshots", json={"name": "before"})).json()
        await rest("POST", f"{path}/items", json={"items": [{"text": "restarted the gateway"}]})
        forked = (
            await rest("POST", f"{path}/fork", json={"snapshot_id": snapshot["id"], "title": "b"})
        ).json()
        fork = f"/api/v1/contexts/{forked['id']}"
        assert await items_of(rest, fork) == (await items_of(rest, path))[:2]
        assert await hits(rest, "gateway slow", fork) == [f"devops://contexts/{forked['id']}#1"]
        await rest("POST", f"{fork}/items", json={"items": [{"text": "another way"}]})
        assert (await rest("DELETE", path)).status_code == 204
        kept = await items_of(rest, fork)
    assert (forked["forked_from"], forked["forked_at"]) == (path.rpartition("/")[2], 2)
    assert [item["text"] for item in kept] == ["the gateway is slow", LONG, "another way"]
    assert kept[0]["pinned"]


async def test_a_fork_at_a_position_counts_what_it_has(database, settings):
    async with a_caller(database, settings) as rest:
        path = await a_context(rest, *({"text": f"finding {n}"} for n in range(9)))
        whole = (await rest("POST", f"{path}/fork", json={})).json()
        part = (await rest("POST", f"{path}/fork", json={"position": 4})).json()
        beyond = await rest("POST", f"{path}/fork", json={"position": 10})
        snapshot = (await rest("POST", f"{path}/snapshots", json={"name": "now"})).json()
        either = await rest("POST", f"{path}/fork", json={"position": 4, "snapshot_id": snapshot["id"]})
        original = (await rest("GET", path)).json()
    assert (whole["item_count"], whole["token_count"]) == (9, original["token_count"])
    assert (part["item_count"], part["pending_tokens"]) == (4, part["token_count"])
    assert (beyond.status_code, either.status_code) == (422, 422)


async def test_snapshots_are_listed_and_a_name_is_given_once(database, settings):
    async with a_caller(database, settings) as rest:
        path = await a_context(rest, {"text": "x"})
        for name in ("first", "second"):
            assert (await rest("POST", f"{path}/snapshots", json={"name": name})).status_code == 201
        again = await rest("POST", f"{path}/snapshots", json={"name": "first"})
        listed = (await rest("GET", f"{path}/snapshots", params={"limit": 1})).json()
        following = (await rest("GET", f"{path}/snapshots", params={"cursor": listed["next_cursor"]})).json()
    assert again.status_code == 409
    assert [s["name"] for s in (*listed["items"], *following["items"])] == ["second", "first"]


async def export(rest: Rest, path: str) -> list[dict]:
    answer = await rest.http.get(f"{path}/export")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.content.split(b"\n") if line]


async def take_in(rest: Rest, lines: list[dict], **headers: str):
    body = "\n".join(json.dumps(line) for line in lines)
    return await rest.http.post("/api/v1/imports", content=body, headers=headers)


async def test_what_is_exported_is_taken_in_again_as_it_was(database, settings):
    """More items than a page has, a text that is kept apart, a file, a summary, what is pinned, and any character."""
    assert len(LONG.encode()) > LARGE
    async with a_caller(database, settings) as rest:
        path = await a_context(
            rest, {"text": LONG}, {"text": "größer \u2028 \n\t\U0001f600", "role": "user", "pinned": True}
        )
        for start in range(0, 150, 50):
            items = [{"text": f"finding {n}", "metadata": {"n": n}} for n in range(start, start + 50)]
            await rest("POST", f"{path}/items", json={"items": items})
        await rest.http.post(
            "/api/v1/attachments",
            params={"context_id": path.rpartition("/")[2], "name": "a.bin"},
            content=FILE,
        )
        arguments = {"context_id": path.rpartition("/")[2]}
        await rest("POST", "/api/v1/tools/context_summarize/call", json={"arguments": arguments})
        exported = await export(rest, path)
        taken = await take_in(rest, exported)
        again = f"/api/v1/contexts/{taken.json()['id']}"
        file = await rest.http.get(f"{again}/items/153/content")
        assert await export(rest, again) == exported
        assert await items_of(rest, again) == await items_of(rest, path)
        assert len(await hits(rest, "finding", again)) == 10
    assert taken.status_code == 201
    assert taken.json()["metadata"] == {"n": 1}
    assert [line["type"] for line in exported] == ["context"] + ["item"] * 154
    assert exported[0]["items"] == 154
    assert base64.b64decode(exported[153]["file"]["data"]) == file.content == FILE
    assert exported[154]["covers_to"] == 153


HEAD = {"type": "context", "format": 1, "title": "x"}
ITEM = {"type": "item", "kind": "note", "text": "x"}


WRONG: list[tuple[list[dict], str]] = [
    ([], "line 1"),
    ([ITEM], "line 1"),
    ([HEAD | {"format": 2}], "line 1"),
    ([HEAD, ITEM, ITEM | {"kind": "colour"}], "line 3"),
    ([HEAD, ITEM, ITEM | {"owner_id": str(new_id())}], "line 3"),
    ([HEAD, *[ITEM] * 120, ITEM | {"covers_from": 1, "covers_to": 121}], "line 122"),
    ([HEAD, ITEM | {"file": {"name": "../x", "media_type": "a/b", "data": ""}}], "line 2"),
    ([HEAD, ITEM | {"file": {"name": "x", "media_type": "a/b", "data": "!"}}], "base64"),
    ([HEAD | {"items": 3}, ITEM, ITEM], "line 1"),
    ([HEAD | {"items": 0}, ITEM], "line 1"),
]


async def test_a_file_that_is_wrong_is_refused_by_its_line_and_leaves_nothing(database, settings):
    async with a_caller(database, settings) as rest:
        for lines, where in WRONG:
            answer = await take_in(rest, lines)
            assert answer.status_code == 422
            assert where in answer.json()["detail"]
        cut = await rest("POST", "/api/v1/imports", content=f"{json.dumps(HEAD)}\n{json.dumps(ITEM)[:-1]}")
        assert (await rest("GET", "/api/v1/contexts")).json()["items"] == []
    assert cut.status_code == 400
    assert cut.json()["detail"].startswith("line 2: not valid JSON")


async def test_lines_with_large_files_are_written_as_they_come(database, settings):
    """H04: a hundred of them, held until they are a batch, would be gigabytes."""
    content = base64.b64encode(b"x" * 2_000_000).decode()
    file = {"name": "x.log", "media_type": "text/plain", "data": content}
    lines = [
        {"type": "context", "title": "x"},
        *({"type": "item", "kind": "note", "text": "x", "file": file} for _ in range(4)),
    ]
    async with a_caller(database, settings) as rest:
        made = await take_in(rest, lines)
        audit = await rest("GET", "/api/v1/audit?action=contexts.append&sort=created_at")
    assert (made.status_code, made.json()["item_count"]) == (201, 4)
    written = [(one["arguments"]["from"], one["arguments"]["to"]) for one in audit.json()["items"]]
    assert written == [(1, 2), (3, 4)]


async def test_an_import_that_is_sent_again_is_done_once_and_another_by_the_same_key_is_refused(
    database, settings
):
    """H14: also where only its last line differs, or it is a part of the first; the key of one that was wrong is free."""
    marked = {"Idempotency-Key": "import-1"}
    whole = [HEAD, *[ITEM] * 150]
    async with a_caller(database, settings) as rest:
        assert (await take_in(rest, [HEAD, {}], **marked)).status_code == 422
        first = await take_in(rest, whole, **marked)
        again = await take_in(rest, whole, **marked)
        others = [
            await take_in(rest, lines, **marked)
            for lines in ([*whole[:-1], ITEM | {"text": "y"}], whole[:-1], [*whole, ITEM], [])
        ]
        contexts = (await rest("GET", "/api/v1/contexts")).json()["items"]
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert {(other.status_code, other.json()["code"]) for other in others} == {
        (422, "idempotency_key_reused")
    }
    assert [context["id"] for context in contexts] == [first.json()["id"]]


async def test_an_import_that_breaks_off_leaves_neither_a_context_nor_a_claim_on_its_key(database, settings):
    """H14"""
    whole = [HEAD, *[ITEM] * 150]
    marked = {"Idempotency-Key": "import-1"}
    async with a_caller(database, settings) as rest:

        async def begun() -> int:
            async with await psycopg.AsyncConnection.connect(database.superuser_url) as connection:
                cursor = await connection.execute("SELECT count(*) FROM contexts")
                return (await cursor.fetchone() or (0,))[0]

        async def until_there_are(count: int) -> None:
            async with asyncio.timeout(20):
                while await begun() != count:
                    await asyncio.sleep(0.02)

        async def breaking_off() -> AsyncIterator[bytes]:
            yield "".join(f"{json.dumps(line)}\n" for line in whole).encode()
            await until_there_are(1)
            raise ConnectionAbortedError

        with pytest.raises(ConnectionAbortedError):
            await rest.http.post("/api/v1/imports", content=breaking_off(), headers=marked)
        await until_there_are(0)
        async with asyncio.timeout(20):  # the claim goes a moment after the context
            while (again := await take_in(rest, whole, **marked)).status_code == 409:
                assert again.json()["code"] == "request_in_progress"
        assert again.status_code == 201


async def test_anothers_context_is_not_copied_by_any_way(database, settings):
    """T01"""
    async with a_caller(database, settings) as rest:
        path = await a_context(rest, {"text": "the canary sings at noon"})
        snapshot = (await rest("POST", f"{path}/snapshots", json={"name": "s"})).json()["id"]
        rest.http.headers["X-API-Key"] = await new_key(database.owner_url, "contexts:read", "contexts:write")
        mine = await a_context(rest, {"text": "x"})
        answers = [
            await rest("POST", f"{path}/fork", json={}),
            await rest("POST", f"{mine}/fork", json={"snapshot_id": snapshot}),
            await rest("POST", f"{path}/snapshots", json={"name": "t"}),
            await rest("GET", f"{path}/snapshots"),
            await rest("PUT", f"{path}/retention", json={"expires_at": None}),
            await rest.http.get(f"{path}/export"),
        ]
    assert {answer.status_code for answer in answers} == {404}
    assert not any("canary" in answer.text for answer in answers)


async def test_a_context_is_not_there_once_its_time_is_over_and_then_removed(database, settings):
    past = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    async with a_caller(database, settings) as rest:
        kept = await a_context(rest, {"text": "kept"}, expires_at="2999-01-01T00:00:00Z")
        path = await a_context(rest, {"text": "the canary sings at noon"})
        before = await rest("GET", path)
        patch = {"Content-Type": "application/merge-patch+json"}
        refused = [
            await rest("PUT", f"{path}/retention", json={"expires_at": past}),
            await rest("PUT", path, json={"title": "x", "expires_at": past}),
            await rest("PATCH", path, json={"expires_at": past}, headers=patch),
            await rest("POST", "/api/v1/contexts", json={"title": "x", "expires_at": past}),
        ]
        assert [answer.status_code for answer in refused] == [422] * 4
        assert (await rest("GET", path)).json() == before.json()
        assert len(await hits(rest, "canary noon")) == 1
        with psycopg.connect(database.superuser_url) as connection:
            connection.execute(
                "UPDATE contexts SET expires_at = %s WHERE id = %s", (past, path.rpartition("/")[2])
            )
        assert (await rest("GET", path)).status_code == 404
        assert await hits(rest, "canary noon") == []
        listed = (await rest("GET", "/api/v1/contexts")).json()["items"]
        async with open_database(database.worker_url, pool_size=2, application="worker") as opened:
            await Upkeep(opened, Keyring(settings.master_keys)).remove_expired_contexts()
            async with opened.transaction(DEFAULT_TENANT_ID) as tx:
                assert await tx.contexts.expired(10) == []
        assert await hits(rest, "canary noon") == []
    assert [f"/api/v1/contexts/{context['id']}" for context in listed] == [kept]


async def test_contexts_are_found_by_what_is_noted_of_them(database, settings):
    async with a_caller(database, settings) as rest:
        for team, number in (("shop", 1), ("shop", 2), ("pay", 1)):
            metadata = {"team": team, "of": {"number": number}}
            await rest("POST", "/api/v1/contexts", json={"title": f"{team} {number}", "metadata": metadata})

        async def titles(metadata: str, **params) -> list[str]:
            page = await rest("GET", "/api/v1/contexts", params={"metadata": metadata, **params})
            assert page.status_code == 200, page.text
            return [context["title"] for context in page.json()["items"]]

        assert await titles('{"team": "shop"}') == ["shop 2", "shop 1"]
        assert await titles('{"team": "shop", "of": {"number": 1}}') == ["shop 1"]
        assert await titles('{"team": "shop"}', limit=1) == ["shop 2"]
        assert await titles('{"team": "none"}') == []
        assert len(await titles("{}")) == 3
        deep = '{"a": ' + "[" * 990 + "]" * 990 + "}"
        assert (await rest("GET", "/api/v1/contexts", params={"metadata": deep})).status_code in (200, 422)
        twice = ('{"a": 1, "a": 1}', '{"b": [{"a": 1, "\\u0061": 2}]}')
        for wrong in ("", "[]", "{", "null", '{"a": "\\u0000"}', '{"a": NaN}', "[" * 1_500, *twice):
            answer = await rest("GET", "/api/v1/contexts", params={"metadata": wrong})
            assert answer.status_code == 422, wrong
