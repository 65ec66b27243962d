"""Dead letters over REST."""

import psycopg
import pytest

from devops_mcp.events.messages import MESSAGE, EventReceived
from devops_mcp.events.queues import QueueName
from devops_mcp.models.base import utc_now
from devops_mcp.models.dead_letters import DeadLetter
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.operations import dead_letters
from devops_mcp.repositories.database import open_database
from support.rest import a_caller
from support.services import settings_for
from support.tenants import add_tenant

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LETTERS = "/api/v1/dead-letters"


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.app_url, redis_url)


def a_letter(tenant_id=DEFAULT_TENANT_ID, queue: str = "events", body: str | None = None) -> DeadLetter:
    message = EventReceived(id=new_id(), tenant_id=tenant_id, event_id=new_id())
    return DeadLetter(
        id=new_id(),
        queue=queue,
        message_id=str(message.id),
        type=message.type if body is None else None,
        body=MESSAGE.dump_json(message).decode() if body is None else body,
        reason="poison_message: there is no such event",
        attempts=3,
        trace=TRACE,
        died_at=utc_now(),
    )


async def put(database, *letters: DeadLetter, tenant_id=DEFAULT_TENANT_ID) -> None:
    async with (
        open_database(database.worker_url, pool_size=1, application="test") as opened,
        opened.transaction(tenant_id) as tx,
    ):
        await tx.dead_letters.add(letters)


def rows(database, query: str) -> list[tuple]:
    with psycopg.connect(database.superuser_url) as connection:
        return connection.execute(query).fetchall()


async def test_letters_are_listed_by_queue_page_by_page_and_shown_with_their_bodies(database, settings):
    first, second, third = a_letter(), a_letter(), a_letter(queue="embeddings")
    await put(database, first, second, third)
    async with a_caller(database, settings, "dead_letters:read", "dead_letters:payload") as rest:
        page = (await rest("GET", LETTERS, params={"queue": "events", "limit": 1})).json()
        behind = (
            await rest("GET", LETTERS, params={"queue": "events", "cursor": page["next_cursor"]})
        ).json()
        all_of_them = (await rest("GET", LETTERS)).json()
        shown = (await rest("GET", f"{LETTERS}/{first.id}")).json()
        nonsense = await rest("GET", LETTERS, params={"queue": "nonsense"})
    assert [letter["id"] for letter in page["items"] + behind["items"]] == [str(second.id), str(first.id)]
    assert len(all_of_them["items"]) == 3
    assert "body" not in page["items"][0]
    assert (shown["body"], shown["attempts"], shown["trace"]) == (first.body, 3, TRACE)
    assert nonsense.status_code == 422


async def test_a_redriven_letter_goes_back_through_the_outbox_under_its_old_id_and_is_audited(
    database, settings
):
    """L05"""
    letter = a_letter()
    await put(database, letter)
    async with a_caller(database, settings, "dead_letters:redrive") as rest:
        assert (await rest("POST", f"{LETTERS}/{letter.id}/redrive")).status_code == 204
        assert (await rest("POST", f"{LETTERS}/{letter.id}/redrive")).status_code == 404
    assert rows(database, "SELECT id::text, queue, message, trace FROM outbox") == [
        (letter.message_id, QueueName.EVENTS, letter.body, TRACE)
    ]
    assert rows(database, "SELECT actor, action, target, outcome FROM audit_log") == [
        ("tester", "dead_letters.redrive", f"dead_letter:{letter.id}", "ok")
    ]


async def test_all_of_a_queue_are_redriven_but_for_those_that_nobody_can_read(
    database, settings, monkeypatch
):
    monkeypatch.setattr(dead_letters, "AT_ONCE", 3)
    monkeypatch.setattr(dead_letters, "_CHUNK", 2)
    unreadable = a_letter(body='{"type": "of.tomorrow"}')
    await put(database, unreadable, *(a_letter() for _ in range(5)), a_letter(queue="embeddings"))
    async with a_caller(database, settings) as rest:
        answers = [
            (await rest("POST", f"{LETTERS}/redrive", json={"queue": "events"})).json() for _ in range(2)
        ]
        alone = await rest("POST", f"{LETTERS}/{unreadable.id}/redrive")
    assert answers == [
        {"redriven": 3, "unreadable": 1, "more": True},
        {"redriven": 2, "unreadable": 1, "more": False},
    ]
    assert alone.status_code == 409
    assert rows(database, "SELECT count(*) FROM outbox") == [(5,)]
    assert rows(database, "SELECT queue FROM dead_letters ORDER BY queue") == [("embeddings",), ("events",)]


async def test_letters_are_purged_one_by_one_or_all_of_a_queue_and_audited(database, settings):
    """L05"""
    one, other, third = a_letter(), a_letter(), a_letter()
    await put(database, one, other, third)
    async with a_caller(database, settings, "dead_letters:purge") as rest:
        assert (await rest("DELETE", f"{LETTERS}/{one.id}")).status_code == 204
        assert (await rest("DELETE", f"{LETTERS}/{one.id}")).status_code == 404
        purged = (await rest("POST", f"{LETTERS}/purge", json={"queue": "events"})).json()
    assert purged == {"purged": 2}
    assert rows(database, "SELECT count(*) FROM dead_letters") == [(0,)]
    assert rows(database, "SELECT action, target FROM audit_log ORDER BY id") == [
        ("dead_letters.purge", f"dead_letter:{one.id}"),
        ("dead_letters.purge", "queue:events"),
    ]


async def test_who_may_only_read_changes_nothing_and_the_attempt_is_audited(database, settings):
    """L05, A18"""
    letter = a_letter()
    await put(database, letter)
    async with a_caller(database, settings, "dead_letters:read") as rest:
        redriven = await rest("POST", f"{LETTERS}/redrive", json={"queue": "events"})
        purged = await rest("DELETE", f"{LETTERS}/{letter.id}")
    assert redriven.status_code == purged.status_code == 403
    assert rows(database, "SELECT count(*) FROM dead_letters") == [(1,)]
    assert rows(database, "SELECT action, outcome, error_code FROM audit_log ORDER BY id") == [
        ("dead_letters.redrive", "denied", "forbidden"),
        ("dead_letters.purge", "denied", "forbidden"),
    ]


async def test_anothers_letters_are_answered_like_ones_that_do_not_exist(database, settings):
    """T01, I9"""
    other = new_id()
    add_tenant(database, other)
    theirs = a_letter(other)
    await put(database, theirs, tenant_id=other)
    async with a_caller(database, settings) as rest:
        answers = []
        for id_ in (str(theirs.id), str(new_id())):
            for method, suffix in (("GET", ""), ("DELETE", ""), ("POST", "/redrive")):
                answer = await rest(method, f"{LETTERS}/{id_}{suffix}")
                answers.append((answer.status_code, answer.json()["detail"].replace(id_, "ID")))
        redriven = (await rest("POST", f"{LETTERS}/redrive", json={"queue": "events"})).json()
        purged = (await rest("POST", f"{LETTERS}/purge", json={"queue": "events"})).json()
        listed = (await rest("GET", LETTERS)).json()
    assert answers[:3] == answers[3:]
    assert {status for status, _ in answers} == {404}
    assert (redriven["redriven"], purged["purged"], listed["items"]) == (0, 0, [])
    assert rows(database, "SELECT count(*) FROM dead_letters") == [(1,)]


async def test_who_may_only_read_letters_sees_no_bodies(database, settings):
    letter = a_letter(body="a payload")
    await put(database, letter)
    async with a_caller(database, settings, "dead_letters:read") as rest:
        shown = await rest("GET", f"{LETTERS}/{letter.id}")
    assert (shown.status_code, shown.json()["body"]) == (200, None)
    assert "a payload" not in shown.text
