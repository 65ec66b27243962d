"""Replays over REST."""

import psycopg

from support.happenings import happen
from support.rest import a_caller
from support.services import settings_for

REPLAYS = "/api/v1/events/replays"
ALL_OF_THEM = {"events": {"since": "2026-01-01T00:00:00Z"}, "consumer": "processing"}


async def test_a_replay_is_started_shown_listed_and_cancelled_and_leaves_records(database, redis_url):
    """L05"""
    await happen(database.worker_url, redis_url, 1, 2)
    async with a_caller(database, settings_for(database.app_url, redis_url)) as rest:
        started = await rest("POST", REPLAYS, json=ALL_OF_THEM)
        again = await rest("POST", REPLAYS, json=ALL_OF_THEM)
        one = f"{REPLAYS}/{started.json()['id']}"
        shown = (await rest("GET", one)).json()
        cancelled = (await rest("POST", f"{one}/cancel")).json()
        listed = (await rest("GET", REPLAYS)).json()
        absent = await rest("GET", f"{REPLAYS}/{shown['requested_by']}")
    assert (started.status_code, again.status_code, absent.status_code) == (202, 409, 404)
    assert (shown["status"], shown["done"], shown["total"]) == ("running", 0, 2)
    assert shown["events"]["until"] is not None
    assert [(item["id"], item["status"]) for item in listed["items"]] == [(shown["id"], "cancelled")]
    assert cancelled["finished_at"] is not None
    with psycopg.connect(database.superuser_url) as connection:
        records = connection.execute("SELECT action, target, outcome FROM audit_log ORDER BY id").fetchall()
    target = f"event_replay:{shown['id']}"
    assert records == [("events.replay", target, "ok"), ("events.replay.cancel", target, "ok")]


async def test_a_replay_without_a_beginning_or_with_a_consumer_that_does_not_fit_is_refused(
    database, redis_url
):
    async with a_caller(database, settings_for(database.app_url, redis_url)) as rest:
        for wrong in (
            {"events": {}},
            {"consumer": "webhook"},
            {"endpoint_id": "00000000-0000-7000-8000-000000000001"},
            {"consumer": "agent"},
            {"more": 1},
        ):
            assert (await rest("POST", REPLAYS, json=ALL_OF_THEM | wrong)).status_code == 422
