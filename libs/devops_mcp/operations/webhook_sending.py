"""Delivering outgoing webhooks, in the worker: one attempt a message, the next one from the outbox when it is due.

An attempt goes out before it is written down, so that a worker that dies between makes another one: at least once, under the same
`webhook-id`. Its outcome is written once.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from uuid import UUID

import orjson
import structlog
from pydantic import SecretStr

from devops_mcp.adapters.signatures import HmacSha256, standard_webhooks_key
from devops_mcp.adapters.upstream import Reply, retry_after_s
from devops_mcp.auth.sealing import SealBroken, SecretSeal
from devops_mcp.events.messages import NotificationDue
from devops_mcp.events.model import Event
from devops_mcp.events.queues import QueueName
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.errors import UpstreamUnavailable
from devops_mcp.models.ids import new_id
from devops_mcp.models.webhooks import DeliveryStatus, SealedSecrets, WebhookDelivery, WebhookEndpoint
from devops_mcp.observability.caller import for_caller
from devops_mcp.observability.metrics import Metrics
from devops_mcp.observability.tracing import current_traceparent
from devops_mcp.operations.deeds import deed_of_ours
from devops_mcp.operations.webhook_endpoints import place_of
from devops_mcp.operations.webhook_schedule import asked_for, delay_after, hold_after, reason_to_disable
from devops_mcp.outbound.posting import Posted, Poster
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.transaction import Transaction

CONSUMER = "notifications"
_SPREAD_S = 10.0
"""What waited for the same endpoint does not come back to it all at once."""
_SCHEME = HmacSha256(
    header="webhook-signature",
    encoding="base64",
    prefix="v1,",
    text="{id}.{ts}.{body}",
    keys=standard_webhooks_key,
)
_AGENT = f"DevOps-MCP/{version('devops-mcp')}"
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Parcel:
    """An attempt, ready to be made."""

    delivery: WebhookDelivery
    endpoint: WebhookEndpoint
    secrets: SealedSecrets
    body: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended; `status` is None where there was no answer."""

    at: datetime
    duration_ms: float
    status: int | None = None
    error: str | None = None
    retry_after_s: float | None = None

    @property
    def ok(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class WebhookSender:
    """Delivers, each to its endpoint, several at once."""

    def __init__(
        self,
        database: Database,
        poster: Poster,
        seal: SecretSeal,
        metrics: Metrics,
        *,
        now: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
        random_: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._poster = poster
        self._seal = seal
        self._metrics = metrics
        self._now = now
        self._monotonic = monotonic
        self._random = random_

    async def send(self, tenant_id: UUID, messages: Sequence[NotificationDue]) -> set[UUID]:
        """Try these deliveries; the ids of the messages that had not been handled before.

        Raises when one could not be written down; the others have been.
        """
        done = await asyncio.gather(
            *(for_caller(self._send(tenant_id, message)) for message in messages), return_exceptions=True
        )
        if errors := [outcome for outcome in done if isinstance(outcome, BaseException)]:
            raise errors[0]
        return {message.id for message, fresh in zip(messages, done, strict=True) if fresh}

    async def _send(self, tenant_id: UUID, message: NotificationDue) -> bool:
        async with self._database.transaction(tenant_id) as tx:
            if await tx.processed.known(CONSUMER, message.id):
                return False
            parcel = await self._packed(tx, message)
            if parcel is None:
                await tx.processed.claim(CONSUMER, [message.id])
                return True
        outcome = await self._attempt(tenant_id, parcel)
        async with self._database.transaction(tenant_id) as tx:
            if not await tx.processed.claim(CONSUMER, [message.id]):
                return False
            became = await self._write_down(tx, parcel, outcome)
        self._account_for(parcel, outcome, became)
        return True

    async def _packed(self, tx: Transaction, message: NotificationDue) -> Parcel | None:
        """What is to be sent; None when there is nothing to try, or not now, and that is written down."""
        delivery = await tx.webhook_deliveries.find(message.delivery_id)
        if delivery is None or delivery.status is not DeliveryStatus.PENDING:
            return None  # removed after its endpoint, or ended
        endpoint = await tx.webhook_endpoints.find(delivery.endpoint_id)
        secrets = await tx.webhook_endpoints.secrets(delivery.endpoint_id)
        events = await tx.events.find([delivery.event_id])
        if endpoint is None or secrets is None:
            await tx.webhook_deliveries.end(delivery.id, "the endpoint is deleted")
        elif not endpoint.enabled:
            await tx.webhook_deliveries.end(
                delivery.id, f"the endpoint is disabled: {endpoint.disabled_reason}"
            )
        elif not events:
            await tx.webhook_deliveries.end(delivery.id, "the event is not kept any longer")
        elif endpoint.held_until is not None and endpoint.held_until > self._now():
            until = endpoint.held_until + timedelta(seconds=self._random() * _SPREAD_S)
            await tx.webhook_deliveries.postpone(delivery.id, until)
            await _come_back(tx, delivery, until)
            self._metrics.webhook_sent("postponed")
        else:
            return Parcel(delivery, endpoint, secrets, body_of(events[0].event, delivery.replay_id))
        return None

    async def _attempt(self, tenant_id: UUID, parcel: Parcel) -> Outcome:
        at, started = self._now(), self._monotonic()
        try:
            posted = await self._poster.post(
                parcel.endpoint.url, parcel.body, self._headers(tenant_id, parcel, at)
            )
        except (UpstreamUnavailable, SealBroken) as error:
            if isinstance(error, SealBroken):
                log.error("secret not opened", reason=error.message)
            return Outcome(at, self._since(started), error=error.message)
        return Outcome(at, self._since(started), posted.status, _complaint(posted), _asks(posted))

    def _headers(self, tenant_id: UUID, parcel: Parcel, at: datetime) -> dict[str, str]:
        id_, timestamp = f"msg_{parcel.delivery.id}", int(at.timestamp())
        signatures = [
            _SCHEME.sign(parcel.body, secret.get_secret_value(), timestamp=timestamp, message_id=id_)
            for secret in self._opened(tenant_id, parcel, at)
        ]
        return {
            "content-type": "application/json",
            "user-agent": _AGENT,
            "webhook-id": id_,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(signatures),
        }

    def _opened(self, tenant_id: UUID, parcel: Parcel, at: datetime) -> list[SecretStr]:
        """The secrets in force, newest first."""
        secrets, endpoint_id = parcel.secrets, parcel.endpoint.id
        newest = self._seal.open(secrets.secret, place_of(tenant_id, endpoint_id, secrets.secret_version))
        if secrets.previous_secret is None or secrets.previous_until is None or secrets.previous_until <= at:
            return [newest]
        place = place_of(tenant_id, endpoint_id, secrets.secret_version - 1)
        return [newest, self._seal.open(secrets.previous_secret, place)]

    async def _write_down(self, tx: Transaction, parcel: Parcel, outcome: Outcome) -> DeliveryStatus:
        if outcome.ok:
            await self._attempted(tx, parcel, outcome, DeliveryStatus.DELIVERED)
            await tx.webhook_endpoints.succeeded(parcel.endpoint.id)
            return DeliveryStatus.DELIVERED
        failures, since = await tx.webhook_endpoints.failed(parcel.endpoint.id, outcome.at)
        now = self._now()
        if reason := reason_to_disable(outcome.status, since, now):
            await self._disable(tx, parcel.endpoint, reason)
            await self._attempted(tx, parcel, outcome, DeliveryStatus.FAILED)
            return DeliveryStatus.FAILED
        asked = asked_for(outcome.status, outcome.retry_after_s)
        if hold := asked or hold_after(failures):
            await tx.webhook_endpoints.hold(parcel.endpoint.id, now + hold)
        delay = delay_after(parcel.delivery.attempts + 1, self._random)
        if delay is None:
            await self._attempted(tx, parcel, outcome, DeliveryStatus.FAILED)
            return DeliveryStatus.FAILED
        next_at = now + max(delay, asked or delay)
        await self._attempted(tx, parcel, outcome, DeliveryStatus.PENDING, next_at)
        await _come_back(tx, parcel.delivery, next_at)
        return DeliveryStatus.PENDING

    async def _attempted(
        self,
        tx: Transaction,
        parcel: Parcel,
        outcome: Outcome,
        status: DeliveryStatus,
        next_at: datetime | None = None,
    ) -> None:
        await tx.webhook_deliveries.attempted(
            parcel.delivery.id,
            status=status,
            next_at=next_at,
            at=outcome.at,
            answered=outcome.status,
            error=outcome.error,
            duration_ms=outcome.duration_ms,
        )

    async def _disable(self, tx: Transaction, endpoint: WebhookEndpoint, reason: str) -> None:
        if await tx.webhook_endpoints.disable(endpoint.id, reason):
            target = f"webhook_endpoint:{endpoint.id}"
            record = deed_of_ours(tx.tenant_id, "webhooks.disable", target, {"reason": reason})
            await tx.audit.append([record])
            log.warning("webhook endpoint disabled", endpoint_id=str(endpoint.id), reason=reason)

    def _account_for(self, parcel: Parcel, outcome: Outcome, became: DeliveryStatus) -> None:
        self._metrics.webhook_sent("retried" if became is DeliveryStatus.PENDING else became)
        log.info(
            "webhook sent",
            endpoint_id=str(parcel.endpoint.id),
            delivery_id=str(parcel.delivery.id),
            attempt=parcel.delivery.attempts + 1,
            status=outcome.status,
            outcome="ok" if outcome.ok else "failed",
            reason=outcome.error,
            duration_ms=outcome.duration_ms,
        )

    def _since(self, started: float) -> float:
        return round((self._monotonic() - started) * 1_000, 1)


def body_of(event: Event, replay_id: UUID | None = None) -> bytes:
    """What a receiver gets of an event; the same bytes at each attempt. A replay is named, so that it can be told from what happens now."""
    data = event.model_dump(mode="json", exclude_none=True, exclude={"tenant_id"})
    body = {"type": event.type, "timestamp": data["occurred_at"], "data": data}
    return orjson.dumps(body if replay_id is None else {**body, "replay_id": str(replay_id)})


async def _come_back(tx: Transaction, delivery: WebhookDelivery, at: datetime) -> None:
    message = NotificationDue(id=new_id(), tenant_id=tx.tenant_id, delivery_id=delivery.id)
    await tx.webhook_deliveries.wait_for(delivery.id, message.id)
    await tx.outbox.add(QueueName.NOTIFICATIONS, message, trace=current_traceparent(), due_at=at)


def _complaint(posted: Posted) -> str | None:
    if 200 <= posted.status < 300:
        return None
    if 300 <= posted.status < 400:
        return f"the receiver answered {posted.status}; redirects are not followed"
    return f"the receiver answered {posted.status}"


def _asks(posted: Posted) -> float | None:
    return retry_after_s(Reply(posted.status, posted.headers, b""))
