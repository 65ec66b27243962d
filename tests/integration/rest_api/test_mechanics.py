"""What every route has alike: cursors that only we make, parts of answers, and answers that the caller has already."""

import pytest

from devops_mcp.models.ids import new_id
from support.rest import a_caller
from support.services import new_key, settings_for
from support.tenants import add_tenant

CONTEXTS = "/api/v1/contexts"


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
