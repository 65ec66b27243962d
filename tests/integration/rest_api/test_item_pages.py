"""Items of a context whose texts are large, over REST: a page has as many as fit, and a cursor for the rest."""

import pytest

from devops_mcp.operations.contexts import PAGE_BYTES
from support.rest import Rest, a_caller
from support.services import settings_for

TEXTS = [f"{n} " + "x" * 190_000 for n in range(12)]


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.app_url, redis_url, embedding_provider="lexical")


async def pages_of(rest: Rest, path: str, **params: str | int) -> list[list[tuple[int, str]]]:
    """What the pages show, one after the other."""
    pages: list[list[tuple[int, str]]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await rest("GET", f"{path}/items", params={"limit": 100, **params, **cursor})
        assert answer.status_code == 200
        assert len(answer.content) < 1.1 * PAGE_BYTES
        page = answer.json()
        pages.append([(item["position"], item["text"]) for item in page["items"]])
        if page["next_cursor"] is None:
            return pages
        cursor = {"cursor": page["next_cursor"]}


def joined(pages: list[list[tuple[int, str]]]) -> list[tuple[int, str]]:
    return [item for page in pages for item in page]


async def test_a_page_of_items_has_as_many_as_fit_from_whichever_end_and_none_is_left_out(database, settings):
    every = list(enumerate(TEXTS, 1))
    async with a_caller(database, settings) as rest:
        created = (await rest("POST", "/api/v1/contexts", json={"title": "large"})).json()
        path = f"/api/v1/contexts/{created['id']}"
        for text in TEXTS:
            await rest("POST", f"{path}/items", json={"items": [{"text": text}]})
        from_start = await pages_of(rest, path)
        of_kind = await pages_of(rest, path, kind="note")
        latest_first = await pages_of(rest, path, sort="-position")
        exported = await rest("GET", f"{path}/export")
    assert [len(page) for page in from_start] == [5, 5, 2]
    assert joined(from_start) == joined(of_kind) == every
    assert joined(latest_first) == every[::-1]
    assert len(exported.text.splitlines()) == 13
