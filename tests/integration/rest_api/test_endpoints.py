"""rest-api over real HTTP, PostgreSQL and Redis; every answer is held against the OpenAPI document."""

import asyncio
import gzip
import json
import re
from functools import partial
from typing import Any
from uuid import uuid4

import httpx2
import psycopg
import pytest
from jsonschema import Draft202012Validator

from devops_mcp.cache.rates import Rate
from devops_mcp.models.base import MAX_METADATA
from devops_mcp.models.ids import new_id
from devops_mcp.operations.caller_rates import Guesses
from rest_api.routes import ENDPOINTS
from support.github_webhooks import REPO, failed_run, pull_request, signed
from support.rest import DOCUMENT, Rest, a_caller
from support.services import new_key, running_rest, settings_for

SECRET = "a secret for tests"
GITHUB = {"name": "github", "system": "github", "webhook_secrets": [SECRET]}


@pytest.fixture
def settings(database, redis_url, tmp_path):
    (tmp_path / "notes.txt").write_text("hello\n" * 3)
    files = {"name": "files", "system": "fs", "options": {"roots": {"work": str(tmp_path)}}}
    return settings_for(database.app_url, redis_url, [GITHUB, files])


async def test_a_context_is_created_read_appended_to_and_deleted(database, settings):
    async with a_caller(database, settings) as rest:
        created = await rest(
            "POST", "/api/v1/contexts", json={"title": "incident", "metadata": {"severity": 2}}
        )
        assert created.status_code == 201
        path = f"/api/v1/contexts/{created.json()['id']}"
        items = [{"text": f"finding {number}", "kind": "note"} for number in range(5)]
        appended = await rest("POST", f"{path}/items", json={"items": items})
        assert [item["position"] for item in appended.json()["items"]] == [1, 2, 3, 4, 5]
        assert (await rest("GET", path)).json()["item_count"] == 5
        assert (await rest("DELETE", path)).status_code == 204
        assert (await rest("GET", path)).status_code == 404


async def test_paging_shows_each_item_once(database, settings):
    async with a_caller(database, settings) as rest:
        context = (await rest("POST", "/api/v1/contexts", json={"title": "long"})).json()
        path = f"/api/v1/contexts/{context['id']}/items"
        await rest("POST", path, json={"items": [{"text": str(number)} for number in range(7)]})
        seen: dict[str, list[str]] = {"position": [], "-position": []}
        for sort, texts in seen.items():
            cursor: str | None = ""
            while cursor is not None:
                wanted = {"limit": 3, "sort": sort} | ({"cursor": cursor} if cursor else {})
                page = (await rest("GET", path, params=wanted)).json()
                texts += [item["text"] for item in page["items"]]
                cursor = page["next_cursor"]
        one, none = await rest("GET", f"{path}/7"), await rest("GET", f"{path}/8")
    assert seen["position"] == [str(number) for number in range(7)]
    assert seen["-position"] == seen["position"][::-1]
    assert (one.json()["text"], none.status_code) == ("6", 404)


async def test_contexts_are_listed_newest_first_and_page_by_page(database, settings):
    async with a_caller(database, settings) as rest:
        for number in range(5):
            await rest("POST", "/api/v1/contexts", json={"title": str(number)})
        first = (await rest("GET", "/api/v1/contexts", params={"limit": 3})).json()
        rest_of_them = (
            await rest("GET", "/api/v1/contexts", params={"limit": 3, "cursor": first["next_cursor"]})
        ).json()
    titles = [context["title"] for context in (*first["items"], *rest_of_them["items"])]
    assert titles == ["4", "3", "2", "1", "0"]
    assert rest_of_them["next_cursor"] is None


@pytest.mark.parametrize(
    "another", [{"id": new_id()}, {"id": new_id(), "tenant_id": new_id()}], ids=["agent", "tenant"]
)
async def test_anothers_context_is_answered_like_one_that_does_not_exist(database, settings, another):
    """T01"""
    tenant = another.get("tenant_id")
    if tenant is not None:
        with psycopg.connect(database.superuser_url) as connection:
            connection.execute("INSERT INTO tenants (tenant_id, name) VALUES (%s, 'other')", (tenant,))
    narrow = ("contexts:read", "contexts:write", "search:read")
    mine = await new_key(database.owner_url, *narrow)
    theirs = await new_key(database.owner_url, *narrow, **another)
    async with running_rest(settings) as url:
        async with httpx2.AsyncClient(base_url=url, headers={"X-API-Key": mine}, timeout=60) as http:
            created = (await http.post("/api/v1/contexts", json={"title": "secret plan"})).json()
            await http.post(
                f"/api/v1/contexts/{created['id']}/items", json={"items": [{"text": "the vault is green"}]}
            )
        async with httpx2.AsyncClient(base_url=url, headers={"X-API-Key": theirs}, timeout=60) as http:
            answers = []
            for context_id in (created["id"], str(uuid4())):
                for method, suffix in (("GET", ""), ("DELETE", ""), ("GET", "/items")):
                    answer = await http.request(method, f"/api/v1/contexts/{context_id}{suffix}")
                    body = (
                        json.dumps(answer.json())
                        .replace(context_id, "ID")
                        .replace(answer.json()["request_id"], "R")
                    )
                    answers.append((method, suffix, answer.status_code, body))
            found = await http.post("/api/v1/search", json={"query": "which vault is green?"})
            listed = await http.get("/api/v1/contexts")
    assert answers[:3] == answers[3:]
    assert {status for _, _, status, _ in answers} == {404}
    assert found.json()["hits"] == listed.json()["items"] == []


async def test_tools_are_listed_described_and_called(database, settings):
    async with a_caller(database, settings) as rest:
        names = [tool["name"] for tool in (await rest("GET", "/api/v1/tools?limit=100")).json()["items"]]
        chosen = [
            [tool["name"] for tool in (await rest("GET", f"/api/v1/tools?{query}")).json()["items"]]
            for query in ("system=fs", "system=fs&effect=read&name=_many")
        ]
        described = (await rest("GET", "/api/v1/tools/fs_read")).json()
        called = await rest(
            "POST", "/api/v1/tools/fs_read/call", json={"arguments": {"path": "work/notes.txt"}}
        )
        unknown = await rest("POST", "/api/v1/tools/no_such_tool/call", json={"arguments": {}})
        wrong = await rest(
            "POST", "/api/v1/tools/fs_read/call", json={"arguments": {"path": "work/x", "colour": 1}}
        )
    assert {"fs_read", "github_issue_list", "context_search"} <= set(names)
    assert chosen == [
        [name for name in names if name.startswith("fs_")],
        ["fs_read_many"],
    ]
    Draft202012Validator.check_schema(described["input_schema"])
    assert "hello" in json.dumps(called.json())
    assert (unknown.status_code, wrong.status_code) == (404, 422)
    assert [violation["where"] for violation in wrong.json()["violations"]] == ["arguments.colour"]


async def test_what_is_refused_before_it_is_read_is_refused_in_the_documents_words(database, settings):
    """H04"""
    async with a_caller(database, settings) as rest:
        long = await rest("GET", f"/api/v1/contexts?title={'x' * 20_000}")
        many = await rest("GET", "/api/v1/contexts", headers={"X-Filler": "x" * 20_000})
    assert (long.status_code, long.json()["code"]) == (414, "target_too_long")
    assert (many.status_code, many.json()["code"]) == (431, "head_too_large")


async def test_what_is_noted_of_something_is_small(database, settings):
    """H04: it comes along wherever that is listed, and the database indexes each member of it."""
    fits = {"k": "x" * (MAX_METADATA - len('{"k":""}'))}
    async with a_caller(database, settings) as rest:
        one = (await rest("POST", "/api/v1/contexts", json={"title": "x"})).json()["id"]
        for metadata, made in ((fits, 201), ({"k": fits["k"] + "x"}, 422)):
            noted = {"metadata": metadata}
            lines = "\n".join(
                json.dumps(line)
                for line in (
                    {"type": "context", "title": "x"},
                    {"type": "item", "kind": "note", "text": "x", **noted},
                )
            )
            answers = [
                await rest("POST", "/api/v1/contexts", json={"title": "x", **noted}),
                await rest("POST", f"/api/v1/contexts/{one}/items", json={"items": [{"text": "x", **noted}]}),
                await rest("POST", "/api/v1/agents", json={"name": "x", **noted}),
                await rest(
                    "POST",
                    "/api/v1/imports",
                    content=lines.encode(),
                    headers={"Content-Type": "application/x-ndjson"},
                ),
                await rest("PUT", f"/api/v1/contexts/{one}", json={"title": "x", **noted}),
                await rest("POST", "/api/v1/search", json={"query": "x", **noted}),
            ]
            done = 200 if made == 201 else made
            assert [answer.status_code for answer in answers] == [made] * 4 + [done] * 2
    assert answers[1].json()["violations"][0]["where"] == "body.items.0.metadata"


@pytest.mark.parametrize("end", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
async def test_the_ends_of_time_can_be_said(database, settings, end):
    """H05"""
    async with a_caller(database, settings) as rest:
        answers = [
            await rest("POST", "/api/v1/contexts", json={"title": "x", "expires_at": end}),
            await rest("POST", "/api/v1/api-keys", json={"name": "x", "expires_at": end}),
            await rest("GET", "/api/v1/api-keys"),
            await rest("GET", "/api/v1/events", params={"since": end, "until": end}),
        ]
    made = {True: 201, False: 422}[end.startswith("9999")]
    assert [answer.status_code for answer in answers] == [made, made, 200, 200]


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/api/v1/contexts?limit=0", {}, 422),
        ("GET", "/api/v1/contexts?limit=101", {}, 422),
        ("GET", "/api/v1/contexts?limit=1_0", {}, 422),
        ("GET", "/api/v1/contexts?limit=%201", {}, 422),
        ("GET", "/api/v1/tasks?of_all=yes", {}, 422),
        ("GET", "/api/v1/contexts?limit=5&limit=6", {}, 422),
        ("GET", "/api/v1/contexts?colour=red", {}, 422),
        ("GET", "/api/v1/contexts?cursor=nonsense", {}, 400),
        ("GET", "/api/v1/contexts/nonsense", {}, 404),
        ("POST", "/api/v1/contexts", {"json": {"title": ""}}, 422),
        ("POST", "/api/v1/contexts", {"content": b"title=x", "headers": {"Content-Type": "text/plain"}}, 415),
        (
            "POST",
            "/api/v1/contexts",
            {"content": b'{"title": "a\\u0000b"}', "headers": {"Content-Type": "application/json"}},
            400,
        ),
        (
            "POST",
            "/api/v1/contexts",
            {"content": b'{"title":"a","title":"b"}', "headers": {"Content-Type": "application/json"}},
            400,
        ),
        (
            "POST",
            "/api/v1/contexts",
            {"content": b"[" * 100_000, "headers": {"Content-Type": "application/json"}},
            400,
        ),
        ("GET", "/nothing", {}, 404),
        ("PATCH", "/health/live", {}, 405),
    ],
)
async def test_bad_input_is_a_problem_document_that_says_what_is_wrong(
    database, settings, method, path, options, status
):
    """H05"""
    async with a_caller(database, settings) as rest:
        answer = await rest(method, path, **options)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["detail"]


async def deliver(
    rest: Rest, event: str, payload: dict[str, Any], path: str = "/webhooks/github", **headers: str
) -> httpx2.Response:
    body, all_headers = signed(event, payload, SECRET, **headers)
    return await rest("POST", path, content=body, headers=all_headers)


async def test_a_webhook_becomes_an_event_that_is_listed_and_read(database, settings):
    async with a_caller(database, settings) as rest:
        accepted = await deliver(rest, "workflow_run", failed_run())
        await deliver(rest, "pull_request", pull_request(), "/webhooks/github/github")
        [event_id] = accepted.json()["events"]
        one = (await rest("GET", f"/api/v1/events/{event_id}")).json()
        builds = (
            await rest("GET", "/api/v1/events", params={"type": "build.finished", "subject": REPO})
        ).json()["items"]
        newest = (await rest("GET", "/api/v1/events", params={"limit": 1})).json()
    assert one["data"]["failed"] is True
    assert [event["id"] for event in builds] == [event_id]
    assert newest["items"][0]["type"] == "change.opened"
    assert newest["next_cursor"] is not None


async def test_a_ping_is_accepted_and_stores_nothing(database, settings):
    async with a_caller(database, settings) as rest:
        answer = await deliver(rest, "ping", {"zen": "Keep it logically awesome.", "hook_id": 1})
        events = (await rest("GET", "/api/v1/events")).json()["items"]
    assert (answer.status_code, answer.json(), events) == (202, {"status": "ignored", "events": []}, [])


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "sha256=" + "0" * 64,
        "sha256=" + "0" * 63,
        "sha1=" + "0" * 40,
        "SHA256=" + "0" * 64,
        "sha256=ä" + "0" * 63,
    ],
)
async def test_a_webhook_that_is_not_signed_as_it_should_be_stores_nothing(database, settings, signature):
    """W01"""
    async with a_caller(database, settings) as rest:
        body, headers = signed("workflow_run", failed_run(), SECRET)
        raw = [
            (name.encode(), value.encode())
            for name, value in (headers | {"X-Hub-Signature-256": signature}).items()
        ]
        answer = await rest("POST", "/webhooks/github", content=body, headers=raw)
        events = (await rest("GET", "/api/v1/events")).json()["items"]
    assert (answer.status_code, events) == (401, [])


async def test_a_compressed_body_is_not_what_was_signed(database, settings):
    """W02"""
    async with a_caller(database, settings) as rest:
        body, headers = signed("workflow_run", failed_run(), SECRET)
        answer = await rest(
            "POST",
            "/webhooks/github",
            content=gzip.compress(body),
            headers={**headers, "Content-Encoding": "gzip"},
        )
    assert answer.status_code == 401


@pytest.mark.parametrize("path", ["/webhooks/nobody", "/webhooks/fs", "/webhooks/github/another"])
async def test_an_address_that_nobody_configured_is_not_found(database, settings, path):
    async with a_caller(database, settings) as rest:
        assert (await deliver(rest, "ping", {"zen": "x"}, path)).status_code == 404


async def test_of_two_integrations_each_has_its_own_address(database, redis_url):
    other = {"name": "github-eu", "system": "github", "webhook_secrets": ["another"]}
    settings = settings_for(database.app_url, redis_url, [GITHUB, other])
    async with a_caller(database, settings) as rest:
        assert (
            await deliver(rest, "workflow_run", failed_run(), "/webhooks/github/github")
        ).status_code == 202
        assert (
            await deliver(rest, "workflow_run", failed_run(message="b"), "/webhooks/github/github-eu")
        ).status_code == 401
        assert (
            await deliver(rest, "workflow_run", failed_run(message="c"), "/webhooks/github")
        ).status_code == 404


async def test_an_address_that_tries_many_keys_is_told_to_wait_and_who_is_known_there_is_not(
    database, settings, monkeypatch
):
    """A10: at a rate that no machine is too slow for."""
    few = partial(Guesses, rate=Rate(per_s=1, burst=60))
    monkeypatch.setattr("devops_mcp.operations.platform.Guesses", few)
    async with a_caller(database, settings) as rest:
        await rest("GET", "/api/v1/me")
        answers: list[httpx2.Response] = []
        while 429 not in {answer.status_code for answer in answers} and len(answers) < 400:
            guesses = [f"dm_{len(answers) + number:012d}_{'x' * 43}" for number in range(40)]
            answers += await asyncio.gather(
                *(rest.http.get("/api/v1/me", headers={"X-API-Key": guess}) for guess in guesses)
            )
        known = await rest("GET", "/api/v1/me")
    [late, *_] = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} == {401, 429}
    assert late.json()["code"] == "rate_limited"
    assert 1 <= int(late.headers["retry-after"]) <= 40
    assert known.status_code == 200


async def test_the_document_is_served_and_its_page_works_without_the_network(database, settings):
    async with a_caller(database, settings) as rest:
        rest.http.headers.pop("X-API-Key")
        served = await rest("GET", "/openapi.json")
        page = await rest("GET", "/docs")
    assert served.json() == json.loads(json.dumps(DOCUMENT))
    assert page.status_code == 200
    assert all(endpoint.path in page.text for endpoint in ENDPOINTS)
    assert "<script" not in page.text
    assert "src=" not in page.text
    ids, led_to = (set(re.findall(rf'{name}="#?([^"/]*)"', page.text)) for name in ("id", "href"))
    assert led_to <= ids
    assert not any(" " in anchor for anchor in ids)
    patched = page.text.partition("PATCH</span> /api/v1/api-keys/{key_id}</h3>")[2].partition("<h3>")[0]
    assert (
        '<a href="#ApiKeyDraftPatch">ApiKeyDraftPatch</a> as <code>application/merge-patch+json</code>'
        in patched
    )
    assert 'Answer: 200 OK, <a href="#ApiKeyView">ApiKeyView</a>' in patched
    listed = page.text.partition("GET</span> /api/v1/contexts</h3>")[2].partition("<h3>")[0]
    assert "at least 1, at most 100, default 20" in listed
    assert "<code>next_cursor</code> of the page before" in listed
