"""What every route has alike: cursors that only we make, parts of answers, and answers that the caller has already."""

import asyncio
import gzip
import json
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from devops_mcp.models.ids import new_id
from devops_mcp.repositories.shares import Shares
from rest_api.routes import ENDPOINTS
from rest_api.versions import merged
from support.rest import a_caller
from support.services import new_key, settings_for
from support.tenants import add_tenant

CONTEXTS, IMPORTS = "/api/v1/contexts", "/api/v1/imports"
MERGE = {"Content-Type": "application/merge-patch+json"}


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.app_url, redis_url)


async def test_a_cursor_is_good_for_its_own_list_tenant_and_filters_only(database, settings):
    """I01, T02"""
    other = new_id()
    add_tenant(database, other)
    stranger = {"X-API-Key": await new_key(database.owner_url, tenant_id=other)}
    async with a_caller(database, settings) as rest:
        for number in range(3):
            await rest("POST", CONTEXTS, json={"title": str(number)})
        cursor = (await rest("GET", f"{CONTEXTS}?limit=1")).json()["next_cursor"]
        changed = ("B" if cursor[0] == "A" else "A") + cursor[1:]
        path = f"{CONTEXTS}?cursor={cursor}"
        refused = [
            await rest("GET", f"{CONTEXTS}?cursor={changed}"),
            await rest("GET", f"{CONTEXTS}?cursor={new_id()}"),
            await rest("GET", f"{CONTEXTS}?cursor="),
            await rest("GET", f"/api/v1/users?cursor={cursor}"),
            await rest("GET", f"/api/v1/audit?outcome=ok&cursor={cursor}"),
            await rest("GET", path, headers=stranger),
        ]
        taken = [await rest("GET", path), await rest("GET", f"{path}&limit=2&fields=title")]
    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(400, "invalid_cursor")}
    assert [[item["title"] for item in answer.json()["items"]] for answer in taken] == [["1", "0"]] * 2


async def test_fields_choose_what_is_answered_from_what_there_is(database, settings):
    """I01"""
    async with a_caller(database, settings) as rest:
        made = (await rest("POST", CONTEXTS, json={"title": "x"})).json()
        page = (await rest("GET", f"{CONTEXTS}?fields=id,title")).json()
        one = (await rest("GET", f"{CONTEXTS}/{made['id']}?fields=title")).json()
        roles = (await rest("GET", "/api/v1/roles?fields=name")).json()
        refused = [
            await rest("GET", f"{CONTEXTS}?fields={wrong}")
            for wrong in ("", "colour", "title,", "title,title", "items", "blob_id", "__all__")
        ]
    assert page == {"items": [{"id": made["id"], "title": "x"}], "next_cursor": None}
    assert one == {"title": "x"}
    assert {"name": "owner"} in roles["items"]
    assert [answer.status_code for answer in refused] == [422] * len(refused)


async def test_what_the_caller_has_is_not_sent_again_until_it_changes(database, settings):
    async with a_caller(database, settings) as rest:
        context = f"{CONTEXTS}/{(await rest('POST', CONTEXTS, json={'title': 'x'})).json()['id']}"
        first = await rest("GET", context)
        same = {"If-None-Match": f'"other", W/{first.headers["etag"]}'}
        again = await rest("GET", context, headers=same)
        part = await rest("GET", f"{context}?fields=title", headers=same)
        await rest("POST", f"{context}/items", json={"items": [{"text": "more"}]})
        changed = await rest("GET", context, headers=same)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert (part.status_code, changed.status_code) == (200, 200)
    assert len({answer.headers["etag"] for answer in (first, part, changed)}) == 3


def marked(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


async def test_a_marked_request_is_done_once_and_answered_alike(database, settings):
    """H14, K01: also where the answer shows a secret, which is kept sealed."""
    wanted = {"name": "deploy", "grants": ["search:read"]}
    async with a_caller(database, settings) as rest:
        first = await rest("POST", "/api/v1/api-keys", json=wanted, headers=marked("a"))
        again = await rest("POST", "/api/v1/api-keys", json=wanted, headers=marked('"a"'))
        other = await rest("POST", "/api/v1/api-keys", json={**wanted, "name": "x"}, headers=marked("a"))
        elsewhere = await rest("POST", CONTEXTS, json={"title": "x"}, headers=marked("a"))
        names = [key["name"] for key in (await rest("GET", "/api/v1/api-keys")).json()["items"]]
        malformed = [
            await rest("POST", CONTEXTS, json={"title": "x"}, headers=marked(key))
            for key in ("", "x" * 201, "a b", '"')
        ]
        twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
        malformed.append(await rest("POST", CONTEXTS, json={"title": "x"}, headers=twice))
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (
        None,
        "true",
    )
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert elsewhere.status_code == 201
    assert names.count("deploy") == 1
    assert {answer.status_code for answer in malformed} == {400}
    assert first.json()["key"] not in dump(database, "idempotent_calls")


async def test_a_key_is_its_principals_own(database, settings):
    """H14, T02"""
    other = new_id()
    add_tenant(database, other)
    async with a_caller(database, settings) as rest:
        first = await rest("POST", CONTEXTS, json={"title": "x"}, headers=marked("a"))
        for changes in ({"id": new_id()}, {"tenant_id": other}):
            key = await new_key(database.owner_url, **changes)
            answer = await rest(
                "POST", CONTEXTS, json={"title": "x"}, headers=marked("a") | {"X-API-Key": key}
            )
            assert (answer.status_code, "idempotency-replayed" in answer.headers) == (201, False)
            assert answer.json()["id"] != first.json()["id"]


async def test_parallel_requests_of_one_key_have_one_effect(database, settings):
    """H14, I2: whoever comes while it is being answered is told to ask again."""
    async with a_caller(database, settings) as rest:
        sent = [rest("POST", CONTEXTS, json={"title": "x"}, headers=marked("a")) for _ in range(8)]
        answers = await asyncio.gather(*sent)
        last = await rest("POST", CONTEXTS, json={"title": "x"}, headers=marked("a"))
        listed = (await rest("GET", CONTEXTS)).json()["items"]
    waiting = [answer for answer in answers if answer.status_code == 409]
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert all(answer.json()["code"] == "request_in_progress" for answer in waiting)
    assert all(int(answer.headers["retry-after"]) > 0 for answer in waiting)
    assert [context["id"] for context in listed] == [last.json()["id"]]


async def test_what_was_refused_leaves_the_key_free_and_its_record_behind(database, settings):
    """H14, L05"""
    async with a_caller(database, settings, "contexts:*", "users:read") as rest:
        missing = f"{CONTEXTS}/{new_id()}/items"
        items = {"items": [{"text": "x"}]}
        assert (await rest("POST", missing, json=items, headers=marked("a"))).status_code == 404
        user = {"username": "x", "name": "x"}
        assert (await rest("POST", "/api/v1/users", json=user, headers=marked("b"))).status_code == 403
    with psycopg.connect(database.superuser_url) as connection:
        assert connection.execute("SELECT count(*) FROM idempotent_calls").fetchone() == (0,)
        query = "SELECT action, outcome FROM audit_log WHERE outcome = 'denied'"
        assert connection.execute(query).fetchall() == [("users.write", "denied")]


async def test_a_claim_whose_holder_died_is_taken_over_when_it_ends(database, settings):
    """H14: a call of a tool has its effect elsewhere, so its key is claimed before."""
    path = "/api/v1/tools/context_create/call"
    call = {"arguments": {"title": "x"}}
    async with a_caller(database, settings) as rest:
        done = await rest("POST", path, json=call, headers=marked("a"))
        unfinished = "UPDATE idempotent_calls SET answer = NULL, lease_until = now() + %s::interval"
        execute(database, unfinished, "1 minute")
        waiting = await rest("POST", path, json=call, headers=marked("a"))
        execute(database, unfinished, "-1 second")
        other = await rest("POST", path, json={"arguments": {"title": "y"}}, headers=marked("a"))
        taken = await rest("POST", path, json=call, headers=marked("a"))
        again = await rest("POST", path, json=call, headers=marked("a"))
    assert (done.status_code, taken.status_code) == (200, 200)
    assert (waiting.status_code, waiting.json()["code"]) == (409, "request_in_progress")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert again.json() == taken.json() != done.json()


async def test_who_has_not_seen_the_last_change_changes_nothing(database, settings):
    """I2: the version is compared under the row's lock."""
    async with a_caller(database, settings) as rest:
        path = f"{CONTEXTS}/{(await rest('POST', CONTEXTS, json={'title': 'x'})).json()['id']}"
        seen = {"If-Match": (await rest("GET", f"{path}?fields=id")).headers["etag"]}
        writers = [rest("PUT", path, json={"title": str(n)}, headers=seen) for n in range(6)]
        answers = await asyncio.gather(*writers)
        [won] = [answer for answer in answers if answer.status_code == 200]
        now = await rest("GET", path)
        stale = [
            await rest("DELETE", path, headers=seen),
            await patch(rest, path, {"title": "y"}, seen),
            await rest("PUT", path, json={"title": "y"}, headers={"If-Match": f"W/{now.headers['etag']}"}),
        ]
        appended = await rest("POST", f"{path}/items", json={"items": [{"text": "more"}]})
        behind = await patch(rest, path, {"title": "y"}, {"If-Match": now.headers["etag"]})
        latest = (await rest("GET", path)).headers["etag"]
        stale += [
            await rest("PUT", path, json={"title": "y"}, headers={"If-None-Match": tag})
            for tag in ("*", f"W/{latest}")
        ]
        lines = [("If-Match", '"another"'), ("If-Match", latest), ("If-None-Match", '"another"')]
        assert (await rest("PUT", path, json={"title": "y"}, headers=lines)).status_code == 200
        unread = f"{path}/items/1/pin"
        stale += [
            await rest("PUT", unread, headers={"If-Match": latest}),
            await rest("DELETE", unread, headers={"If-None-Match": "*"}),
        ]
        assert (await rest("PUT", unread, headers={"If-Match": "*"})).status_code == 204
        gone = await rest("DELETE", path, headers={"If-Match": "*"})
        missing = await rest("DELETE", path, headers={"If-Match": "*"})
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412, 412, 412]
    assert now.json() == won.json()
    assert now.headers["etag"] == won.headers["etag"]
    assert {(answer.status_code, answer.json()["code"]) for answer in stale} == {(412, "precondition_failed")}
    assert (appended.status_code, behind.status_code, gone.status_code, missing.status_code) == (
        201,
        412,
        204,
        404,
    )


async def patch(rest, path: str, change: object, headers: dict[str, str] | None = None):
    return await rest("PATCH", path, content=json.dumps(change), headers=MERGE | (headers or {}))


async def test_a_patch_changes_what_it_names_and_is_judged_as_a_whole(database, settings):
    """H05"""
    async with a_caller(database, settings) as rest:
        made = {"title": "x", "metadata": {"a": {"b": 1, "c": [1]}, "d": 1}, "compact_above": 5}
        path = f"{CONTEXTS}/{(await rest('POST', CONTEXTS, json=made)).json()['id']}"
        changed = await patch(
            rest, path, {"metadata": {"a": {"b": None, "c": [2], "e": {}}}, "compact_above": None}
        )
        nothing = await patch(rest, path, {})
        refused = [
            await patch(rest, path, {"title": None}),
            await patch(rest, path, {"title": 5}),
            await patch(rest, path, {"item_count": 5}),
            await patch(rest, path, ["title"]),
            await rest("PATCH", path, json={"title": "y"}),
            await rest("PATCH", path, content=b'{"title":"y","title":"z"}', headers=MERGE),
        ]
        after = (await rest("GET", path)).json()
    assert changed.json()["metadata"] == {"a": {"c": [2], "e": {}}, "d": 1}
    assert (changed.json()["title"], changed.json()["compact_above"]) == ("x", None)
    assert nothing.status_code == 200
    assert [answer.status_code for answer in refused] == [422, 422, 422, 422, 415, 400]
    assert {key: after[key] for key in made} == {key: changed.json()[key] for key in made}


async def test_patches_that_meet_both_stay(database, settings):
    async with a_caller(database, settings) as rest:
        path = f"{CONTEXTS}/{(await rest('POST', CONTEXTS, json={'title': 'x'})).json()['id']}"
        changes = [patch(rest, path, {"metadata": {str(n): n}}) for n in range(8)]
        assert {answer.status_code for answer in await asyncio.gather(*changes)} == {200}
        assert (await rest("GET", path)).json()["metadata"] == {str(n): n for n in range(8)}


def test_whatever_is_replaced_has_versions():
    """A PUT beside a GET is of a resource; without a lock two who write at once would undo each other's change."""
    readable = {one.path for one in ENDPOINTS if one.method == "GET"}
    without = [
        one.path for one in ENDPOINTS if one.method == "PUT" and one.path in readable and one.lock is None
    ]
    assert without == []


@pytest.mark.parametrize(
    ("target", "change", "expected"),
    [
        # RFC 7396, appendix A; a patch that is no object is refused before.
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merging_is_what_the_rfc_says(target, change, expected):
    assert merged(target, change) == expected


def dump(database, table: str) -> str:
    with psycopg.connect(database.superuser_url) as connection:
        query = sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(table))
        return "\n".join(row[0] for row in connection.execute(query).fetchall())


def execute(database, statement: str, *values: object) -> None:
    with psycopg.connect(database.superuser_url) as connection:
        connection.execute(statement, values)


async def test_a_caller_is_told_how_it_stands_when_it_is_served_and_when_it_is_not(database, redis_url):
    settings = settings_for(database.app_url, redis_url, requests_per_s=0.01, requests_burst=3)
    async with a_caller(database, settings) as rest:
        answers = [
            await rest("GET", path) for path in (CONTEXTS, f"{CONTEXTS}/{new_id()}", CONTEXTS, CONTEXTS)
        ]
        stranger = {"X-API-Key": await new_key(database.owner_url)}
        other = await rest("GET", CONTEXTS, headers=stranger)
    assert [answer.status_code for answer in answers] == [200, 404, 200, 429]
    assert [answer.headers["ratelimit-policy"] for answer in answers] == ['"requests";q=3;w=300'] * 4
    left = [answer.headers["ratelimit"].split(";")[:2] for answer in answers]
    assert left == [['"requests"', f"r={number}"] for number in (2, 1, 0, 0)]
    assert int(answers[3].headers["retry-after"]) > 0
    assert other.status_code == 200


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [("gzip", "gzip"), ("gzip, zstd;q=0.9", "gzip"), ("br, zstd", "zstd"), ("identity, *;q=0", None)],
)
async def test_large_answers_are_sent_in_an_encoding_that_the_caller_takes(
    database, settings, accepted, coding
):
    async with a_caller(database, settings) as rest:
        large = {"title": "x", "metadata": {"text": "word " * 500}}
        path = f"{CONTEXTS}/{(await rest('POST', CONTEXTS, json=large)).json()['id']}"
        takes = {"Accept-Encoding": accepted}
        answer = await rest("GET", path, headers=takes)
        known = await rest("GET", path, headers=takes | {"If-None-Match": answer.headers["etag"]})
        changed = await rest("PUT", path, json=large, headers={"If-Match": answer.headers["etag"]})
        small = await rest("GET", f"{path}?fields=title", headers=takes)
        secret = {"name": "x" * 200, "grants": [f"tools:read:{n:0100d}" for n in range(20)]}
        key = await rest("POST", "/api/v1/api-keys", json=secret, headers=takes)
        document = await rest("GET", "/openapi.json", headers=takes)
    assert answer.headers.get("content-encoding") == document.headers.get("content-encoding") == coding
    assert answer.json()["metadata"] == large["metadata"]
    assert answer.headers["vary"].lower() == "accept-encoding"
    assert (int(answer.headers["content-length"]) < 1_000) is (coding is not None)
    assert (known.status_code, changed.status_code) == (304, 200)
    assert "content-encoding" not in [*small.headers, *key.headers]
    assert key.headers["cache-control"] == "no-store"


async def test_what_is_made_is_found_where_its_answer_says(database, settings):
    """H14: also where the request is sent again."""
    made = {
        CONTEXTS: {"title": "x"},
        "/api/v1/roles": {"name": "reader", "grants": ["search:read"]},
        "/api/v1/tasks": {"tool": "context_list"},
    }
    async with a_caller(database, settings) as rest:
        context = f"{CONTEXTS}/{(await rest('POST', CONTEXTS, json={'title': 'x'})).json()['id']}"
        made |= {
            f"{context}/snapshots": {"name": "x"},
            f"{context}/fork": {},
            IMPORTS: {"type": "context", "title": "x"},
        }
        made[f"/api/v1/attachments?name=x&context_id={context.rpartition('/')[2]}"] = {"a": "file"}
        for path, body in made.items():
            places = [
                (await rest("POST", path, json=body, headers=marked("a"))).headers["location"]
                for _ in range(2)
            ]
            assert places[0] == places[1]
            assert (await rest("GET", places[0])).status_code == 200, path


async def test_a_post_that_needs_to_be_told_nothing_takes_no_body(database, settings):
    async with a_caller(database, settings) as rest:
        path = f"{CONTEXTS}/{(await rest('POST', CONTEXTS, json={'title': 'x'})).json()['id']}"
        forked = await rest("POST", f"{path}/fork")
        refused = [
            await rest("POST", CONTEXTS),
            await rest("POST", f"{path}/fork", content=b"{}"),
            await rest("POST", f"{path}/fork", headers={"Content-Type": "text/plain"}),
        ]
    assert (forked.status_code, forked.json()["forked_from"]) == (201, path.rpartition("/")[2])
    assert [answer.status_code for answer in refused] == [415, 415, 415]


async def test_a_body_of_another_kind_is_refused_by_what_is_taken(database, settings):
    packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    body = gzip.compress(b'{"title": "x"}')
    async with a_caller(database, settings) as rest:
        refused = await rest("POST", CONTEXTS, content=body, headers=packed)
        as_it_is = {**packed, "Content-Encoding": "identity"}
        taken = await rest("POST", CONTEXTS, content=b'{"title": "x"}', headers=as_it_is)
        text = await rest("POST", CONTEXTS, content=b"x", headers={"Content-Type": "text/plain"})
        whole = await rest("PATCH", taken.headers["location"], json={"title": "y"})
    assert (refused.status_code, refused.json()["code"]) == (415, "unsupported_format")
    assert "Content-Encoding" in refused.json()["detail"]
    assert taken.status_code == 201
    assert [answer.status_code for answer in (text, whole)] == [415, 415]
    assert refused.headers["accept-encoding"] == "identity"
    assert (text.headers["accept"], whole.headers["accept-patch"]) == (
        "application/json",
        MERGE["Content-Type"],
    )


async def test_every_answer_says_which_request_it_is_to_and_how_long_it_took(database, settings):
    async with a_caller(database, settings) as rest:
        own = await rest("GET", "/nothing", headers={"X-Request-Id": "my-request.1"})
        bad = await rest("GET", CONTEXTS, headers={"X-Request-Id": "not one; of ours"})
    assert (own.headers["x-request-id"], own.json()["request_id"]) == ("my-request.1", "my-request.1")
    assert bad.headers["x-request-id"] != "not one; of ours"
    assert all(answer.headers["server-timing"].startswith("total;dur=") for answer in (own, bad))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "bCaB"),
        ("sort=created_at", "BaCb"),
        ("sort=title", "BCab"),
        ("sort=-title", "baCB"),
        ("sort=-updated_at", "aCBb"),
        ("title=B", "bB"),
        ("title=b&sort=title", "Bb"),
        ("owner_id=00000000-0000-7000-8000-000000000009", ""),
    ],
)
async def test_a_list_is_sorted_and_filtered_by_what_is_declared(database, settings, query, expected):
    """I01: page by page, two to a page, and what is alike in the order of the ids."""
    async with a_caller(database, settings) as rest:
        ids = [(await rest("POST", CONTEXTS, json={"title": title})).json()["id"] for title in "BaCb"]
        with psycopg.connect(database.superuser_url) as connection:
            for day, context_id in enumerate([ids[3], ids[0], ids[2], ids[1]], 1):
                connection.execute(
                    "UPDATE contexts SET updated_at = make_date(2026, 1, %s) WHERE id = %s", (day, context_id)
                )
        shown, cursor = "", ""
        while cursor is not None:
            page = (await rest("GET", f"{CONTEXTS}?{query}&limit=2{cursor and '&cursor='}{cursor}")).json()
            shown += "".join(item["title"] for item in page["items"])
            cursor = page["next_cursor"]
        refused = [
            await rest("GET", f"{CONTEXTS}?sort={wrong}")
            for wrong in ("metadata", "--title", "", "title,id", "id;")
        ]
    assert shown == expected
    assert [answer.status_code for answer in refused] == [422] * 5


async def test_users_are_found_by_state_role_and_name(database, settings):
    async with a_caller(database, settings) as rest:
        for name, role in (("ann", "viewer"), ("bob", "agent"), ("cy", "viewer")):
            user = {"username": name, "name": f"{name.upper()} Lee", "email": f"{name}@example.com"}
            await rest("POST", "/api/v1/users", json={**user, "roles": [role]})
        found = (
            await rest("GET", "/api/v1/users?role=viewer&status=active&sort=username&fields=username")
        ).json()
        none = (await rest("GET", "/api/v1/users?status=suspended")).json()
        named = [
            [user["username"] for user in (await rest("GET", f"/api/v1/users?{query}")).json()["items"]]
            for query in ("username=bob", "email=Cy@example.com", "name=ann%20l", "username=bo")
        ]
    assert [user["username"] for user in found["items"]] == ["ann", "cy"]
    assert named == [["bob"], ["cy"], ["ann"], []]
    assert none["items"] == []


async def test_connections_are_held_in_the_callers_name_and_by_probes_in_nobodys(
    database, settings, monkeypatch
):
    """H04: whose crowd fills the pool is known, so that it fills a part of it only."""
    charged: list[UUID | None] = []
    take = Shares.take

    async def noted(shares: Shares, tenant_id: UUID) -> UUID | None:
        caller = await take(shares, tenant_id)
        charged.append(caller)
        return caller

    me = new_id()
    async with a_caller(database, settings, id=me) as rest:
        monkeypatch.setattr(Shares, "take", noted)
        for method, path, body, transactions in (
            ("GET", CONTEXTS, None, 1),
            ("POST", CONTEXTS, {"title": "x"}, 1),
            ("GET", "/api/v1/audit/export", None, 3),
        ):
            charged.clear()
            assert (await rest(method, path, json=body)).is_success
            assert charged.count(me) == transactions, path
        charged.clear()
        assert (await rest("GET", "/health/ready")).is_success
        assert set(charged) <= {None}
