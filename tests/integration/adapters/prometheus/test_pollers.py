"""Prometheus' alerts as differences between looks."""

import json
from datetime import UTC, datetime

import pytest
from starlette.responses import Response

from devops_mcp.adapters.base import Origin
from devops_mcp.adapters.polls import Poll, Polled
from devops_mcp.adapters.prometheus import ADAPTER
from devops_mcp.adapters.prometheus.pollers import fingerprint
from devops_mcp.events.model import EVENT
from devops_mcp.models.errors import UpstreamInvalid, UpstreamUnavailable
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from support.prometheus_fake import SINCE

AT = datetime(2026, 11, 21, tzinfo=UTC)
ORIGIN = Origin(DEFAULT_TENANT_ID, "prom-eu")
[POLLER] = ADAPTER.pollers


async def look(client, cursor) -> Polled:
    return await POLLER.fetch(client, Poll(ORIGIN, cursor, AT))


def told(polled: Polled) -> list[tuple[str, str]]:
    return [(one.event.type, one.event.subject) for one in polled.found]


def an_alert(name: str, state: str = "firing", since: str = SINCE, **labels: str) -> dict:
    return {
        "labels": {"alertname": name, "severity": "page", **labels},
        "annotations": {"summary": f"{name} is on"},
        "state": state,
        "activeAt": since,
        "value": "1e+00",
    }


async def test_alerts_that_begin_and_end_between_looks_are_told_once(fake, client):
    fake.active = [an_alert("Slow", job="shop"), an_alert("Soon", "pending")]
    first = await look(client, {})
    second = await look(client, first.cursor)
    fake.active = [an_alert("Soon", job="cart", since="2026-11-20T23:00:00Z")]
    third = await look(client, second.cursor)
    fourth = await look(client, third.cursor)
    fifth = await look(client, fourth.cursor)
    assert [told(polled) for polled in (first, second, third, fourth, fifth)] == [
        [("alert.fired", "shop")],
        [],
        [("alert.fired", "cart")],
        [("alert.resolved", "shop")],
        [],
    ]
    [fired], [resolved] = first.found, fourth.found
    assert fired.event.fingerprint == resolved.event.fingerprint
    assert fired.event.occurred_at == datetime(2026, 11, 20, 22, 34, 15, 568674, UTC)
    assert resolved.event.occurred_at == AT
    assert (fired.event.severity, fired.event.summary) == ("page", "Slow is on")
    assert b"Slow is on" in fired.payload


async def test_a_restart_that_forgets_all_alerts_for_a_moment_resolves_none(fake, client):
    fake.active = [an_alert("Slow")]
    first = await look(client, {})
    fake.active = []
    second = await look(client, first.cursor)
    fake.active = [an_alert("Slow", since="2026-11-20T23:59:00Z")]
    third = await look(client, second.cursor)
    fake.active = []
    fourth = await look(client, third.cursor)
    assert [told(polled) for polled in (second, third, fourth)] == [[], [], []]


async def test_the_same_look_from_the_same_cursor_has_the_same_keys_and_a_later_one_others(fake, client):
    fake.active = [an_alert("Slow")]
    first, again = await look(client, {}), await look(client, {})
    fake.active = []
    gone = await look(client, (await look(client, first.cursor)).cursor)
    fake.active = [an_alert("Slow")]
    back = await look(client, gone.cursor)
    assert [one.key for one in first.found] == [one.key for one in again.found]
    assert told(back) == [("alert.fired", "Slow")]
    assert back.found[0].key != first.found[0].key


async def test_more_alerts_than_are_followed_neither_grow_the_cursor_nor_are_lost(fake, client, monkeypatch):
    monkeypatch.setattr("devops_mcp.adapters.prometheus.pollers.MAX_FOLLOWED", 2)
    fake.active = [an_alert(f"A{n}", since=f"2026-11-20T22:0{n}:00Z") for n in range(3)]
    first = await look(client, {})
    fake.active = fake.active[1:]
    third = await look(client, (await look(client, first.cursor)).cursor)
    assert told(first) == [("alert.fired", "A0"), ("alert.fired", "A1")]
    assert sorted(told(third)) == [("alert.fired", "A2"), ("alert.resolved", "A0")]


async def test_an_alert_that_the_database_would_refuse_is_told_as_far_as_it_can_be(fake, client):
    """H05: refused with its cursor, it would keep all others from being told, at each look anew."""
    fake.active = [an_alert("Slow"), an_alert("N\0L", **{"a\0b": "c\0d", "job": "cart"})]
    looked = await look(client, {})
    assert sorted(told(looked)) == [("alert.fired", "Slow"), ("alert.fired", "cart")]
    events = [EVENT.dump_json(one.event).decode() for one in looked.found]
    assert "\\u0000" not in "".join([*events, json.dumps(looked.cursor)])


async def test_what_prometheus_does_not_answer_is_an_error_and_not_an_end_of_all_alerts(fake, client):
    first = await look(client, {})
    fake.refusal = Response("overloaded", 503)
    with pytest.raises(UpstreamUnavailable):
        await look(client, first.cursor)
    fake.refusal = Response('{"status": "success", "data": {}}')
    with pytest.raises(UpstreamInvalid):
        await look(client, first.cursor)


def test_an_alert_has_the_fingerprint_that_alertmanager_gives_it():
    assert fingerprint({}) == "cbf29ce484222325"
    assert fingerprint({"name": "garland, briggs", "fear": "love is not enough"}) == "507a62d79ee76c9a"
