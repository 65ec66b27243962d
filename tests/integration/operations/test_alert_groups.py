"""Groups of alerts that grow, shrink and are sent again: each alert is told of once when it fires and once when it is resolved."""

import asyncio
import json
import random
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from devops_mcp.adapters.alertmanager.webhooks import WEBHOOKS as ALERTMANAGER
from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.grafana.webhooks import WEBHOOKS as GRAFANA
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.events import EventIntake, Receipt
from devops_mcp.repositories.database import open_database

SECRET = SecretStr("s3cret")
BEGAN = datetime(2026, 11, 20, 9, 50, tzinfo=UTC)
SYSTEMS = {"alertmanager": (ALERTMANAGER, "4"), "grafana": (GRAFANA, "1")}
each_system = pytest.mark.parametrize("system", SYSTEMS)

Alert = tuple[str, int, bool]
"""Its name, the minute since which it fires, and whether it is resolved."""


def group(system: str, *alerts: Alert, key: str = "{}") -> Delivery:
    """A notification of these alerts."""
    body = {
        "receiver": "us",
        "groupKey": key,
        "version": SYSTEMS[system][1],
        "alerts": [_alert(*alert) for alert in alerts],
    }
    return Delivery({"authorization": "Bearer s3cret"}, json.dumps(body).encode(), BEGAN + timedelta(hours=1))


def _alert(name: str, minute: int, resolved: bool) -> dict[str, object]:
    return {
        "status": "resolved" if resolved else "firing",
        "labels": {"alertname": name},
        "annotations": {},
        "startsAt": (BEGAN + timedelta(minutes=minute)).isoformat(),
        "endsAt": (BEGAN + timedelta(minutes=minute + 5)).isoformat() if resolved else "0001-01-01T00:00:00Z",
        "fingerprint": f"print-of-{name}",
    }


class Replicas:
    """Several of rest-api, of which each delivery meets the next."""

    def __init__(self, system: str, intakes: list[EventIntake]) -> None:
        self._source = SYSTEMS[system][0]
        self._system = system
        self._intakes = intakes

    async def take(self, *deliveries: Delivery) -> list[Receipt]:
        """Take them in at the same time."""
        return await asyncio.gather(
            *(
                self._intakes[n % len(self._intakes)].receive(
                    self._system, self._source, Origin(DEFAULT_TENANT_ID, "alerts"), (SECRET,), delivery
                )
                for n, delivery in enumerate(deliveries)
            )
        )


@asynccontextmanager
async def replicas(database, system: str, count: int = 3):
    async with open_database(database.app_url, pool_size=8, application="test") as opened:
        yield Replicas(system, [EventIntake(opened, Metrics(CollectorRegistry())) for _ in range(count)])


def told(database) -> Counter[tuple[str, str, str]]:
    """How often each alert was told of: its name, since when it fires, and what became of it."""
    with psycopg.connect(database.superuser_url) as connection:
        rows = connection.execute(
            "SELECT event ->> 'name', event ->> 'started_at', type FROM events"
        ).fetchall()
        [queued] = connection.execute("SELECT count(*) FROM outbox").fetchone() or (None,)
    assert queued == len(rows)
    return Counter(rows)


def since(minute: int) -> str:
    return (BEGAN + timedelta(minutes=minute)).isoformat().replace("+00:00", "Z")


@each_system
async def test_an_alert_that_joins_a_group_is_told_of_and_the_others_are_not_told_again(database, system):
    async with replicas(database, system) as intakes:
        steps = [
            [("slow", 0, False)],
            [("slow", 0, False), ("full", 1, False)],
            [("slow", 0, False), ("full", 1, False)],
            [("slow", 0, True), ("full", 1, False), ("down", 2, False)],
            [("full", 1, True), ("down", 2, False)],
            [("slow", 9, False), ("down", 2, False)],
        ]
        receipts = [(await intakes.take(group(system, *step)))[0] for step in steps]
    assert [len(receipt.event_ids) for receipt in receipts] == [1, 1, 0, 2, 1, 1]
    assert told(database) == Counter(
        [
            ("slow", since(0), "alert.fired"), ("full", since(1), "alert.fired"), ("slow", since(0), "alert.resolved"),
            ("down", since(2), "alert.fired"), ("full", since(1), "alert.resolved"), ("slow", since(9), "alert.fired"),
        ]
    )  # fmt: skip


@each_system
async def test_what_a_group_says_is_kept_with_the_first_alert_that_is_news(database, system):
    grown = group(system, ("slow", 0, False), ("full", 1, False), ("down", 2, False))
    async with replicas(database, system, 1) as intakes:
        await intakes.take(group(system, ("slow", 0, False)))
        [receipt] = await intakes.take(grown)
    with psycopg.connect(database.superuser_url) as connection:
        rows = connection.execute(
            "SELECT event ->> 'name', d.payload FROM events AS e JOIN LATERAL"
            " (SELECT payload FROM events WHERE id = e.delivery_id) AS d ON true WHERE e.id = ANY(%s) ORDER BY e.id",
            (list(receipt.event_ids),),
        ).fetchall()
    assert rows == [("full", grown.body), ("down", grown.body)]


@each_system
async def test_however_groups_overlap_and_meet_each_change_of_an_alert_is_told_once(database, system):
    """D03: any order, any replica, any of them again."""
    chance = random.Random(4)
    alerts = [
        (name, minute, resolved) for name in "abcdef" for minute in (0, 30) for resolved in (False, True)
    ]
    groups = [group(system, *chance.sample(alerts, chance.randint(1, 8)), key=f"{{}}:{n}") for n in range(30)]
    groups.append(group(system, *alerts))
    chance.shuffle(groups)
    async with replicas(database, system) as intakes:
        await intakes.take(*groups)
        again = await intakes.take(*groups)
    assert [receipt.event_ids for receipt in again] == [()] * len(groups)
    kinds = {False: "alert.fired", True: "alert.resolved"}
    assert told(database) == Counter(
        (name, since(minute), kinds[resolved]) for name, minute, resolved in alerts
    )
