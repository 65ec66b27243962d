"""Outgoing webhooks from the event to the receiver, against PostgreSQL and a real receiver (case W11)."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from devops_mcp.auth.keyring import Keyring
from devops_mcp.auth.sealing import SecretSeal
from devops_mcp.events.messages import MESSAGE, NotificationDue
from devops_mcp.models.base import utc_now
from devops_mcp.models.errors import Conflict
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.pages import NEWEST
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.models.webhooks import (
    DeliveryStatus,
    EndpointDraft,
    EventFilter,
    WebhookDelivery,
    WebhookEndpoint,
)
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.webhook_endpoints import EndpointWithSecret, WebhookEndpointService, reseal
from devops_mcp.operations.webhook_sending import WebhookSender
from devops_mcp.outbound.posting import open_poster
from devops_mcp.repositories.database import Database, open_database
from support.happenings import happen
from support.servers import LOOPBACK, Answers, hang, serve, serve_bytes

TENANT = DEFAULT_TENANT_ID
MASTER = SecretStr("a master key for the tests, and nothing else")
OWNER = Principal(id=new_id(), tenant_id=TENANT, kind=PrincipalKind.USER, name="integrator", grants=("*",))
OK, BROKEN = PlainTextResponse("ok"), PlainTextResponse("no", 500)


@dataclass
class Bench:
    """The sender with a clock that the test moves. `step` handles what is due, as relay and queue bring it."""

    app: Database
    worker: Database
    worker_url: str
    redis_url: str
    superuser_url: str
    sender: WebhookSender
    service: WebhookEndpointService
    metrics: Metrics
    clock: list[datetime] = field(default_factory=lambda: [utc_now()])

    @property
    def now(self) -> datetime:
        return self.clock[0]

    def advance(self, by: timedelta) -> None:
        self.clock[0] += by

    async def create(self, url: str, **changes: Any) -> EndpointWithSecret:
        return await self.service.create(OWNER, EndpointDraft(name="receiver", url=url, **changes))

    async def happen(self, *numbers: int) -> list[UUID]:
        """Let failed builds be processed; it is not earlier than that afterwards."""
        ids = await happen(self.worker_url, self.redis_url, *numbers)
        self.clock[0] = max(self.now, utc_now())
        return ids

    async def messages(self) -> list[NotificationDue]:
        """What the outbox holds for the sender and is due by the test's clock; taken out of it."""
        async with await psycopg.AsyncConnection.connect(self.superuser_url) as connection:
            cursor = await connection.execute(
                "DELETE FROM outbox WHERE queue = 'notifications' AND due_at <= %s RETURNING message",
                (self.now,),
            )
            read = [MESSAGE.validate_json(row[0]) for row in await cursor.fetchall()]
        return [message for message in read if isinstance(message, NotificationDue)]

    async def step(self) -> int:
        """Try what is due; how many attempts or decisions there were."""
        messages = await self.messages()
        return len(await self.sender.send(TENANT, messages)) if messages else 0

    async def deliveries(self, endpoint: WebhookEndpoint) -> list[WebhookDelivery]:
        page = await self.service.deliveries(OWNER, endpoint.id, status=None, order=NEWEST, limit=100)
        return list(page.items)

    async def only(self, endpoint: WebhookEndpoint) -> WebhookDelivery:
        [delivery] = await self.deliveries(endpoint)
        return delivery

    async def state_of(self, endpoint: WebhookEndpoint) -> WebhookEndpoint:
        return await self.service.get(OWNER, endpoint.id)

    def counted(self, outcome: str) -> float | None:
        return self.metrics.registry.get_sample_value("devops_mcp_webhooks_sent_total", {"outcome": outcome})

    def audited(self) -> list[tuple[str, str]]:
        with psycopg.connect(self.superuser_url) as connection:
            return connection.execute("SELECT actor, action FROM audit_log ORDER BY id").fetchall()


@asynccontextmanager
async def a_bench(database, redis_url, *, deadline_s: float = 15.0) -> AsyncIterator[Bench]:
    metrics, seal, clock = Metrics(CollectorRegistry()), SecretSeal(Keyring([MASTER])), [utc_now()]
    async with (
        open_database(database.app_url, pool_size=2, application="test") as app,
        open_database(database.worker_url, pool_size=8, application="test") as worker,
        open_poster(LOOPBACK, deadline_s=deadline_s) as poster,
    ):
        sender = WebhookSender(worker, poster, seal, metrics, now=lambda: clock[0], random_=lambda: 0.5)
        service = WebhookEndpointService(app, seal, LOOPBACK, now=lambda: clock[0])
        where = (database.worker_url, redis_url, database.superuser_url)
        yield Bench(app, worker, *where, sender, service, metrics, clock)


@pytest.fixture
async def bench(database, redis_url) -> AsyncIterator[Bench]:
    async with a_bench(database, redis_url) as made:
        yield made


def signatures_fit(receiver: Answers, secrets: list[str], at: int = -1) -> list[bool]:
    """Whether each signature of a request is the one that its secret makes, by the specification."""
    request, body = receiver.requests[at], receiver.bodies[at]
    id_, timestamp = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    signed = f"{id_}.{timestamp}.".encode() + body
    given = request.headers["webhook-signature"].split(" ")
    keys = [base64.b64decode(secret.removeprefix("whsec_")) for secret in secrets]
    expected = [
        "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys
    ]
    assert len(given) == len(expected)
    return [one == other for one, other in zip(given, expected, strict=True)]


async def test_an_event_reaches_the_endpoint_signed_as_standard_webhooks_has_it(bench):
    receiver = Answers(OK)
    async with serve(receiver) as url:
        endpoint = await bench.create(f"{url}/hook")
        [event_id] = await bench.happen(1)
        assert await bench.step() == 1
        assert await bench.step() == 0
    delivery, sent = await bench.only(endpoint), json.loads(receiver.bodies[0])
    assert signatures_fit(receiver, [endpoint.secret]) == [True]
    assert receiver.requests[0].headers["webhook-id"] == f"msg_{delivery.id}"
    assert abs(int(receiver.requests[0].headers["webhook-timestamp"]) - bench.now.timestamp()) < 2
    assert (sent["type"], sent["data"]["id"], sent["data"]["subject"]) == (
        "build.finished",
        str(event_id),
        "acme/shop",
    )
    assert "tenant_id" not in sent["data"]
    assert (delivery.status, delivery.attempts, delivery.last_status) == (DeliveryStatus.DELIVERED, 1, 200)


async def test_an_endpoint_hears_only_of_what_it_chose_and_a_disabled_one_of_nothing(bench):
    async with serve(Answers(OK)) as url:
        fitting = await bench.create(url, filter=EventFilter(types=("build.*",), sources=("ci-*",)))
        other = await bench.create(url, filter=EventFilter(subjects=("acme/other",)))
        by_rules_only = await bench.create(url, filter=None)
        disabled = await bench.create(url, enabled=False)
        await bench.happen(1, 2)
        counts = [len(await bench.deliveries(e)) for e in (fitting, other, by_rules_only, disabled)]
    assert counts == [2, 0, 0, 0]


async def test_three_failures_and_a_success_follow_the_schedule_with_the_same_id_and_fresh_signatures(bench):
    """W11"""
    receiver = Answers(BROKEN, BROKEN, BROKEN, OK)
    async with serve(receiver) as url:
        endpoint = await bench.create(url)
        await bench.happen(1)
        waits = []
        for _ in range(3):
            assert await bench.step() == 1
            waiting = await bench.only(endpoint)
            assert (waiting.status, waiting.last_status) == (DeliveryStatus.PENDING, 500)
            waits.append(round((waiting.next_at - bench.now).total_seconds()))
            assert await bench.step() == 0
            bench.clock[0] = waiting.next_at
        assert await bench.step() == 1
    delivered, well = await bench.only(endpoint), await bench.state_of(endpoint)
    assert waits == [5, 300, 1_800]
    assert (delivered.status, delivered.attempts) == (DeliveryStatus.DELIVERED, 4)
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    assert len(set(receiver.bodies)) == 1
    assert len({request.headers["webhook-timestamp"] for request in receiver.requests}) == 4
    assert all(signatures_fit(receiver, [endpoint.secret], at) == [True] for at in range(4))
    assert (well.failures, well.failing_since) == (0, None)
    assert (bench.counted("retried"), bench.counted("delivered")) == (3, 1)


async def test_who_answers_gone_is_disabled_and_gets_nothing_more(bench):
    """W11, L05"""
    receiver = Answers(Response(status_code=410))
    async with serve(receiver) as url:
        endpoint = await bench.create(url)
        await bench.happen(1)
        await bench.step()
        await bench.happen(2)
        await bench.step()
    disabled = await bench.state_of(endpoint)
    assert (disabled.enabled, disabled.disabled_reason) == (False, "the receiver answered 410 Gone")
    assert (await bench.only(endpoint)).status is DeliveryStatus.FAILED
    assert len(receiver.requests) == 1
    assert bench.audited() == [("integrator", "webhooks.create"), ("worker", "webhooks.disable")]


async def test_who_is_too_busy_is_left_alone_for_as_long_as_it_asks(bench):
    """W11"""
    busy = Response(status_code=429, headers={"Retry-After": "60"})
    receiver = Answers(busy, OK)
    async with serve(receiver) as url:
        endpoint = await bench.create(url)
        await bench.happen(1)
        await bench.step()
        asked_to_wait_until = (await bench.only(endpoint)).next_at
        await bench.happen(2)
        bench.clock[0] = asked_to_wait_until - timedelta(seconds=1)
        await bench.step()  # the second event's delivery waits too, without an attempt
        assert len(receiver.requests) == 1
        first, second = reversed(await bench.deliveries(endpoint))
        assert (second.attempts, second.status) == (0, DeliveryStatus.PENDING)
        assert (first.next_at - first.last_at).total_seconds() == pytest.approx(60, abs=0.1)
        bench.advance(timedelta(seconds=12))
        assert await bench.step() == 2
    assert {d.status for d in await bench.deliveries(endpoint)} == {DeliveryStatus.DELIVERED}
    assert bench.counted("postponed") == 1


async def test_a_receiver_that_does_not_answer_in_time_has_failed(database, redis_url):
    """W11"""
    async with a_bench(database, redis_url, deadline_s=0.3) as bench, serve_bytes(hang) as url:
        endpoint = await bench.create(url)
        await bench.happen(1)
        await bench.step()
        delivery = await bench.only(endpoint)
    assert (delivery.status, delivery.last_status) == (DeliveryStatus.PENDING, None)
    assert delivery.last_error == "no answer within 0.3 s"


async def test_a_redirect_is_a_failure_and_its_target_never_asked(bench):
    """W11, I07"""
    target = Answers(OK)
    async with serve(target) as elsewhere, serve(Answers(RedirectResponse(elsewhere, 307))) as url:
        endpoint = await bench.create(url)
        await bench.happen(1)
        await bench.step()
    delivery = await bench.only(endpoint)
    assert (delivery.status, delivery.last_status) == (DeliveryStatus.PENDING, 307)
    assert delivery.last_error is not None
    assert "not followed" in delivery.last_error
    assert target.requests == []


async def test_a_delivery_is_given_up_and_its_endpoint_disabled_after_a_day_of_failure(bench):
    receiver = Answers(BROKEN)
    async with serve(receiver) as url:
        endpoint = await bench.create(url)
        await bench.happen(1)
        began = bench.now
        for _ in range(8):
            assert await bench.step() == 1
            bench.clock[0] = (await bench.only(endpoint)).next_at or bench.now
        given_up = await bench.only(endpoint)
        assert (given_up.status, given_up.attempts) == (DeliveryStatus.FAILED, 8)
        assert timedelta(hours=23) < bench.now - began < timedelta(hours=25)
        assert (await bench.state_of(endpoint)).enabled
        await bench.happen(2)
        bench.advance(timedelta(hours=1))
        await bench.step()
    disabled = await bench.state_of(endpoint)
    assert not disabled.enabled
    assert disabled.disabled_reason is not None
    assert disabled.disabled_reason.startswith("nothing got through since")


async def test_an_endpoint_that_keeps_failing_is_left_alone_and_its_backlog_waits(bench):
    """X01"""
    receiver = Answers(BROKEN)
    async with serve(receiver) as url:
        endpoint = await bench.create(url)
        await bench.happen(*range(5))
        assert await bench.step() == 5
        await bench.happen(*range(5, 25))
        assert await bench.step() == 20
        held = await bench.state_of(endpoint)
    assert len(receiver.requests) == 5
    assert held.held_until is not None
    assert bench.counted("postponed") == 20


async def test_a_message_that_comes_twice_is_sent_and_counted_once(bench):
    """D02"""
    receiver = Answers(OK)
    async with serve(receiver) as url:
        endpoint = await bench.create(url)
        await bench.happen(1)
        [message] = await bench.messages()
        assert await bench.sender.send(TENANT, [message]) == {message.id}
        assert await bench.sender.send(TENANT, [message]) == set()
    assert len(receiver.requests) == 1
    assert (await bench.only(endpoint)).attempts == 1


async def test_of_two_workers_that_send_the_same_at_once_one_writes_it_down(bench):
    """I6"""
    receiver = Answers(BROKEN)
    async with serve(receiver) as url:
        endpoint = await bench.create(url)
        await bench.happen(1)
        [message] = await bench.messages()
        fresh = await bench.sender.send(TENANT, [message, message])
        bench.clock[0] = (await bench.only(endpoint)).next_at
        next_ones = await bench.messages()
    assert fresh == {message.id}
    assert (await bench.only(endpoint)).attempts == 1
    assert len(next_ones) == 1


async def test_a_delivery_is_resent_under_its_id_and_not_while_it_is_on_its_way(bench):
    receiver = Answers(OK)
    async with serve(receiver) as url:
        endpoint = await bench.create(url)
        await bench.happen(1)
        delivery = await bench.only(endpoint)
        with pytest.raises(Conflict):
            await bench.service.resend(OWNER, endpoint.id, delivery.id)
        await bench.step()
        again = await bench.service.resend(OWNER, endpoint.id, delivery.id)
        assert again.status is DeliveryStatus.PENDING
        bench.clock[0] = utc_now()
        await bench.step()
    assert [r.headers["webhook-id"] for r in receiver.requests] == [f"msg_{delivery.id}"] * 2
    assert (await bench.only(endpoint)).status is DeliveryStatus.DELIVERED


async def test_during_a_rotation_both_secrets_sign_and_afterwards_the_new_one(bench):
    receiver = Answers(OK)
    async with serve(receiver) as url:
        endpoint = await bench.create(url)
        rotated = await bench.service.rotate(OWNER, endpoint.id, timedelta(hours=1))
        assert rotated.secret != endpoint.secret
        await bench.happen(1)
        await bench.step()
        assert signatures_fit(receiver, [rotated.secret, endpoint.secret]) == [True, True]
        bench.advance(timedelta(hours=1))
        await bench.happen(2)
        await bench.step()
        assert signatures_fit(receiver, [rotated.secret]) == [True]
        at_once = await bench.service.rotate(OWNER, endpoint.id, timedelta(0))
        await bench.happen(3)
        await bench.step()
        assert signatures_fit(receiver, [at_once.secret]) == [True]


async def test_secrets_are_kept_sealed_and_one_moved_to_another_row_is_refused(bench):
    """K01, K03"""
    receiver = Answers(OK)
    async with serve(receiver) as url:
        one, other = await bench.create(url), await bench.create(url, filter=None)
        with psycopg.connect(bench.superuser_url) as connection:
            rows = connection.execute("SELECT secret FROM webhook_endpoints").fetchall()
            assert all(one.secret.encode() not in bytes(row[0]) for row in rows)
            connection.execute(
                "UPDATE webhook_endpoints SET secret = (SELECT secret FROM webhook_endpoints WHERE id = %s)",
                (other.id,),
            )
        await bench.happen(1)
        await bench.step()
    delivery = await bench.only(one)
    assert receiver.requests == []
    assert delivery.last_error is not None
    assert "was changed, or sealed for another place" in delivery.last_error


async def test_secrets_are_sealed_anew_before_the_old_master_key_goes(bench):
    newer = SecretStr("another master key for the tests, newer")
    receiver = Answers(OK)
    async with serve(receiver) as url:
        endpoint = await bench.create(url)
        rotated = await bench.service.rotate(OWNER, endpoint.id, timedelta(days=7))
        between = SecretSeal(Keyring([newer, MASTER]))
        assert await reseal(bench.worker, between, TENANT) == 1
        assert await reseal(bench.worker, between, TENANT) == 0
        await bench.happen(1)
        async with open_poster(LOOPBACK) as poster:
            after = WebhookSender(bench.worker, poster, SecretSeal(Keyring([newer])), bench.metrics)
            await after.send(TENANT, await bench.messages())
    assert signatures_fit(receiver, [rotated.secret, endpoint.secret]) == [True, True]


async def test_what_would_be_sent_again_in_vain_is_ended_with_its_endpoint(bench):
    async with serve(Answers(BROKEN)) as url:
        endpoint = await bench.create(url)
        await bench.happen(1)
        await bench.step()
        draft = EndpointDraft(name="receiver", url=url, enabled=False)
        await bench.service.replace(OWNER, endpoint.id, draft)
        bench.advance(timedelta(minutes=1))
        assert await bench.step() == 1
        ended = await bench.only(endpoint)
        await bench.service.delete(OWNER, endpoint.id)
    assert (ended.status, ended.attempts) == (DeliveryStatus.FAILED, 1)
    assert ended.last_error == "the endpoint is disabled: disabled by its owner"


async def test_what_was_to_be_sent_to_an_endpoint_that_is_deleted_is_not(bench):
    receiver = Answers(OK)
    async with serve(receiver) as url:
        endpoint = await bench.create(url)
        await bench.happen(1)
        waiting = await bench.only(endpoint)
        await bench.service.delete(OWNER, endpoint.id)
        assert await bench.step() == 1
        async with bench.worker.transaction(TENANT) as tx:
            ended = await tx.webhook_deliveries.find(waiting.id)
    assert receiver.requests == []
    assert ended is not None
    assert (ended.status, ended.last_error) == (DeliveryStatus.FAILED, "the endpoint is deleted")


async def test_a_name_that_leads_elsewhere_by_now_is_refused_when_the_connection_is_made(bench):
    """I05"""
    receiver = Answers(OK)
    async with serve(receiver) as url:
        endpoint = await bench.create(url)
        await bench.happen(1)
        async with open_poster(()) as poster:
            strict = WebhookSender(bench.worker, poster, SecretSeal(Keyring([MASTER])), bench.metrics)
            await strict.send(TENANT, await bench.messages())
    delivery = await bench.only(endpoint)
    assert receiver.requests == []
    assert delivery.last_error is not None
    assert "must not be reached" in delivery.last_error
