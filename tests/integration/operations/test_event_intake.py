"""Taking webhooks in, against PostgreSQL."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from devops_mcp.events.messages import MESSAGE
from devops_mcp.models.errors import InvalidInput, Unauthenticated
from devops_mcp.observability.metrics import Metrics
from devops_mcp.observability.tracing import carry, spanned
from devops_mcp.operations.events import DeliveryOutcome, EventIntake, Receipt
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.outbox import OutboxRow
from support.webhooks import ORIGIN, SECRET, SOURCE, delivery, failed_build

DUPLICATE = Receipt(DeliveryOutcome.DUPLICATE)


class Intake:
    """An intake for deliveries of one source."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.metrics = Metrics(CollectorRegistry())
        self._intake = EventIntake(database, self.metrics)

    async def receive(self, given, *, source=SOURCE, secrets=(SECRET,)) -> Receipt:
        return await self._intake.receive("ci", source, ORIGIN, secrets, given)

    def counted(self, outcome: str) -> float | None:
        labels = {"system": "ci", "outcome": outcome}
        return self.metrics.registry.get_sample_value("devops_mcp_webhooks_total", labels)


@asynccontextmanager
async def an_intake(database, *, worker: bool = False, pool_size: int = 4):
    url = database.worker_url if worker else database.app_url
    async with open_database(url, pool_size=pool_size, application="test") as opened:
        yield Intake(opened)


async def outbox(database) -> list[OutboxRow]:
    async with (
        open_database(database.worker_url, pool_size=1, application="look") as opened,
        opened.relaying() as relay,
    ):
        return await relay.take(100)


async def test_a_signed_delivery_is_stored_with_its_bytes_and_queued_in_its_trace(database):
    given = delivery(failed_build())
    async with an_intake(database) as intake:
        with spanned("request"):
            receipt = await intake.receive(given)
            trace = carry()["traceparent"]
        async with intake.database.transaction(ORIGIN.tenant_id) as tx:
            [stored] = await tx.events.find(receipt.event_ids)
            payload = await tx.events.payload(stored.event.id)
    [row] = await outbox(database)
    message = MESSAGE.validate_json(row.message)
    assert receipt.outcome is DeliveryOutcome.ACCEPTED
    assert (payload, stored.trace, stored.processed_at) == (given.body, trace, None)
    assert (message.event_id, row.trace, row.queue) == (stored.event.id, trace, "events")
    assert intake.counted("accepted") == 1


async def test_a_forged_delivery_is_refused_and_stores_nothing(database):
    """W01"""
    forged = delivery(failed_build(), secret=SecretStr("a guess"))
    async with an_intake(database) as intake:
        with pytest.raises(Unauthenticated):
            await intake.receive(forged)
        with pytest.raises(Unauthenticated):
            await intake.receive(delivery(failed_build()), secrets=())
    assert await outbox(database) == []
    assert intake.counted("unauthenticated") == 2


async def test_during_a_rotation_either_secret_is_taken(database):
    async with an_intake(database) as intake:
        for number, secret in enumerate((SecretStr("new"), SECRET)):
            given = delivery(failed_build(str(number)), id_=str(number), secret=secret)
            receipt = await intake.receive(given, secrets=(SecretStr("new"), SECRET))
            assert receipt.outcome is DeliveryOutcome.ACCEPTED


async def test_a_body_that_is_not_what_its_type_says_is_refused_and_counted(database):
    async with an_intake(database) as intake:
        with pytest.raises(InvalidInput):
            await intake.receive(delivery({"nothing": "of it"}))
    assert intake.counted("invalid_input") == 1


async def test_a_delivery_that_nobody_needs_is_ignored(database):
    async with an_intake(database) as intake:
        receipt = await intake.receive(delivery({}, kind="ping"))
    assert receipt == Receipt(DeliveryOutcome.IGNORED)
    assert await outbox(database) == []


async def test_the_same_delivery_again_is_a_duplicate(database):
    async with an_intake(database) as intake:
        await intake.receive(delivery(failed_build()))
        assert await intake.receive(delivery(failed_build())) == DUPLICATE
    assert len(await outbox(database)) == 1


async def test_a_signed_body_replayed_under_a_new_id_has_no_second_effect(database):
    """W03"""
    async with an_intake(database) as intake:
        await intake.receive(delivery(failed_build(), id_="1"))
        assert await intake.receive(delivery(failed_build(), id_="2")) == DUPLICATE
    assert len(await outbox(database)) == 1
    assert intake.counted("duplicate") == 1


async def test_where_the_id_is_signed_equal_bodies_are_different_deliveries(database):
    source = replace(SOURCE, signed_key=True)
    async with an_intake(database) as intake:
        first = await intake.receive(delivery(failed_build(), id_="1"), source=source)
        second = await intake.receive(delivery(failed_build(), id_="2"), source=source)
    assert first.outcome is second.outcome is DeliveryOutcome.ACCEPTED


async def test_a_system_without_ids_is_told_repetitions_by_its_bytes(database):
    source = replace(SOURCE, delivery_key=lambda given: None, signed_key=True)
    async with an_intake(database) as intake:
        await intake.receive(delivery(failed_build()), source=source)
        assert await intake.receive(delivery(failed_build()), source=source) == DUPLICATE


async def test_bytes_replayed_under_a_wrong_type_do_not_keep_the_right_delivery_out(database):
    """W04"""
    async with an_intake(database) as intake:
        await intake.receive(delivery(failed_build(), id_="forged", kind="something"))
        replayed = await intake.receive(delivery(failed_build(), id_="forged too", kind="other"))
        right = await intake.receive(delivery(failed_build(), id_="1"))
    assert replayed == DUPLICATE
    assert right.outcome is DeliveryOutcome.ACCEPTED


async def test_fifty_deliveries_of_the_same_at_once_are_one_event(database):
    """D03, one process"""
    async with an_intake(database, pool_size=10) as intake:
        given = [delivery(failed_build(), id_=str(number)) for number in range(50)]
        receipts = await asyncio.gather(*map(intake.receive, given))
    assert [receipt.outcome for receipt in receipts].count(DeliveryOutcome.ACCEPTED) == 1
    assert receipts.count(DUPLICATE) == 49
    assert len(await outbox(database)) == 1


async def test_a_nul_is_refused_before_the_database_sees_it(database):
    """H05"""
    innocent = {**failed_build("2"), "title": "fix \\u0000 handling"}
    async with an_intake(database) as intake:
        with pytest.raises(InvalidInput):
            await intake.receive(delivery({**failed_build(), "title": "a\x00b"}))
        receipt = await intake.receive(delivery(innocent, id_="2"))
    assert receipt.outcome is DeliveryOutcome.ACCEPTED
