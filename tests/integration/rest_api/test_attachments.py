"""Files attached to a context over REST."""

import gzip

import pytest

from devops_mcp.models.ids import new_id
from support.rest import Rest, a_caller
from support.services import new_key, settings_for

FILE = b"<script>alert(1)</script>" * 60_000


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.app_url, redis_url, embedding_provider="lexical")


async def a_context(rest: Rest) -> str:
    return (await rest("POST", "/api/v1/contexts", json={"title": "files"})).json()["id"]


async def attach(rest: Rest, context_id: str, name: str = "page.html", **more):
    params = {"context_id": context_id, "name": name, **more}
    headers = {"Content-Type": "text/html"}
    return await rest.http.post("/api/v1/attachments", params=params, content=FILE, headers=headers)


async def test_a_file_is_attached_found_and_given_back_as_a_download(database, settings):
    async with a_caller(database, settings) as rest:
        context_id = await a_context(rest)
        item = (await attach(rest, context_id, text="the error page of the gateway")).json()
        listed = (await rest("GET", f"/api/v1/contexts/{context_id}/items")).json()["items"]
        found = (await rest("POST", "/api/v1/search", json={"query": "gateway error page"})).json()
        path = f"/api/v1/contexts/{context_id}/items/{item['position']}/content"
        given = await rest.http.get(path)
    assert listed == [item]
    assert item["attachment"]["size"] == len(FILE) > 1_000_000
    assert found["hits"][0]["passage"]["source_id"] == item["id"]
    assert given.content == FILE
    assert given.headers["content-type"].startswith("text/html")
    assert given.headers["content-disposition"] == "attachment; filename*=UTF-8''page.html"
    assert given.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("name", "status"), [("../etc/passwd", 422), ("a\\b", 422), ("a\nb", 422), ("", 422), ("x" * 256, 422)]
)
async def test_a_name_that_is_no_file_name_is_refused(database, settings, name, status):
    """I11"""
    async with a_caller(database, settings) as rest:
        answer = await attach(rest, await a_context(rest), name)
    assert answer.status_code == status


async def test_a_packed_body_is_refused_and_not_kept_as_if_it_were_plain(database, settings):
    packed = {"content": gzip.compress(FILE), "headers": {"Content-Encoding": "gzip"}}
    async with a_caller(database, settings) as rest:
        context_id = await a_context(rest)
        place = {"context_id": context_id, "name": "page.html"}
        answers = [
            await rest.http.post("/api/v1/attachments", params=place, **packed),
            await rest.http.post("/api/v1/imports", **packed),
        ]
        kept = (await rest("GET", f"/api/v1/contexts/{context_id}/items")).json()["items"]
    assert [answer.status_code for answer in answers] == [415, 415]
    assert kept == []


async def test_anothers_file_is_answered_like_one_that_does_not_exist(database, settings):
    """T01"""
    async with a_caller(database, settings) as rest:
        context_id = await a_context(rest)
        await attach(rest, context_id)
        rest.http.headers["X-API-Key"] = await new_key(database.owner_url, "contexts:read", "contexts:write")
        theirs = [
            await attach(rest, context_id),
            await rest.http.get(f"/api/v1/contexts/{context_id}/items/1/content"),
        ]
        nothing = str(new_id())
        absent = [
            await attach(rest, nothing),
            await rest.http.get(f"/api/v1/contexts/{nothing}/items/1/content"),
        ]
    assert {answer.status_code for answer in (*theirs, *absent)} == {404}
    for one, other in zip(theirs, absent, strict=True):
        assert one.json()["detail"].replace(context_id, nothing) == other.json()["detail"]
