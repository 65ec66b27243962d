"""Outgoing webhooks as their owners manage them: endpoints with their secrets, and what was delivered."""

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

import httpx2
import structlog
from pydantic import JsonValue, SecretStr

from devops_mcp.auth.sealing import SealBroken, SecretSeal
from devops_mcp.events.messages import MESSAGE, NotificationDue
from devops_mcp.events.queues import QueueName
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.errors import Conflict, NotFound
from devops_mcp.models.ids import new_id
from devops_mcp.models.pages import Order, Page
from devops_mcp.models.principals import Principal
from devops_mcp.models.webhooks import (
    DeliveryStatus,
    EndpointDraft,
    EndpointsWanted,
    SealedSecrets,
    WebhookDelivery,
    WebhookEndpoint,
)
from devops_mcp.observability.tracing import current_traceparent
from devops_mcp.operations import event_log
from devops_mcp.operations.contexts import require
from devops_mcp.operations.deeds import deed, permit
from devops_mcp.operations.event_types import require_possible
from devops_mcp.operations.reachable import require_reachable
from devops_mcp.outbound.addresses import Network
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.outbox import Posting
from devops_mcp.repositories.transaction import Transaction

READ = "webhooks:read"
WRITE = "webhooks:write"
MAX_ENDPOINTS = 100
"""Of one tenant."""
SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with (https://www.standardwebhooks.com)
_SECRET_BYTES = 32
log = structlog.get_logger()


class EndpointWithSecret(WebhookEndpoint):
    """An endpoint with its secret, which is shown this once."""

    secret: str


class WebhookEndpointService:
    """The endpoints of the principal's tenant."""

    def __init__(
        self,
        database: Database,
        seal: SecretSeal,
        private_networks: tuple[Network, ...],
        *,
        now: Clock = utc_now,
    ) -> None:
        self._database = database
        self._seal = seal
        self._private_networks = private_networks
        self._now = now

    async def create(self, principal: Principal, draft: EndpointDraft) -> EndpointWithSecret:
        """A new endpoint with its secret.

        Raises `InvalidInput` for an address that we will not post to or a type that no event has, `Conflict` when there are too many
        endpoints.
        """
        endpoint_id = new_id()
        await self._permit(principal, endpoint_id)
        _require_possible(draft)
        await require_reachable(draft.url, self._private_networks, "url")
        secret = _new_secret()
        sealed = self._seal.close(secret, place_of(principal.tenant_id, endpoint_id, 1))
        async with self._database.transaction(principal.tenant_id) as tx:
            await tx.webhook_endpoints.lock_all()
            if await tx.webhook_endpoints.count() >= MAX_ENDPOINTS:
                raise Conflict(f"a tenant has at most {MAX_ENDPOINTS} endpoints; delete one")
            added = await tx.webhook_endpoints.add(endpoint_id, draft, sealed)
            await _record(tx, principal, "webhooks.create", endpoint_id, {"after": _about(added)})
        return EndpointWithSecret(**added.model_dump(), secret=secret.get_secret_value())

    async def page(
        self, principal: Principal, *, limit: int, order: Order, wanted: EndpointsWanted
    ) -> Page[WebhookEndpoint]:
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            found = await tx.webhook_endpoints.page(wanted, order, limit + 1)
        return order.page([_as_seen(principal, one) for one in found], limit)

    async def get(self, principal: Principal, endpoint_id: UUID) -> WebhookEndpoint:
        """Raises `NotFound`."""
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            found = _existing(await tx.webhook_endpoints.find(endpoint_id), endpoint_id)
        return _as_seen(principal, found)

    async def replace(self, principal: Principal, endpoint_id: UUID, draft: EndpointDraft) -> WebhookEndpoint:
        """Say anew where it is, what it hears of and whether it is enabled. Raises as `create` does, and `NotFound`."""
        await self._permit(principal, endpoint_id)
        _require_possible(draft)
        await require_reachable(draft.url, self._private_networks, "url")
        async with self._database.transaction(principal.tenant_id) as tx:
            before = _existing(await tx.webhook_endpoints.find(endpoint_id, for_update=True), endpoint_id)
            replaced = _existing(await tx.webhook_endpoints.replace(endpoint_id, draft), endpoint_id)
            changed = {"before": _about(before), "after": _about(replaced)}
            await _record(tx, principal, "webhooks.replace", endpoint_id, changed)
        return replaced

    async def delete(self, principal: Principal, endpoint_id: UUID) -> None:
        """Remove it; its deliveries nobody sees from then on, and none is tried. Raises `NotFound`."""
        await permit(self._database, principal, WRITE, _target(endpoint_id))
        async with self._database.transaction(principal.tenant_id) as tx:
            before = _existing(await tx.webhook_endpoints.find(endpoint_id, for_update=True), endpoint_id)
            await tx.webhook_endpoints.delete(endpoint_id)
            await _record(tx, principal, "webhooks.delete", endpoint_id, {"before": _about(before)})

    async def rotate(self, principal: Principal, endpoint_id: UUID, overlap: timedelta) -> EndpointWithSecret:
        """A new secret; the one before signs besides it for `overlap`, so that the receiver can change over."""
        await self._permit(principal, endpoint_id)
        secret = _new_secret()
        async with self._database.transaction(principal.tenant_id) as tx:
            before = await tx.webhook_endpoints.secrets(endpoint_id, for_update=True)
            if before is None:
                raise _absent(endpoint_id)
            version = before.secret_version + 1
            rotated = SealedSecrets(
                secret=self._seal.close(secret, place_of(principal.tenant_id, endpoint_id, version)),
                secret_version=version,
                previous_secret=before.secret if overlap else None,
                previous_until=self._now() + overlap if overlap else None,
            )
            await tx.webhook_endpoints.put_secrets(endpoint_id, rotated)
            endpoint = _existing(await tx.webhook_endpoints.find(endpoint_id), endpoint_id)
            await _record(
                tx, principal, "webhooks.rotate", endpoint_id, {"overlap_s": overlap.total_seconds()}
            )
        return EndpointWithSecret(**endpoint.model_dump(), secret=secret.get_secret_value())

    async def deliveries(
        self,
        principal: Principal,
        endpoint_id: UUID,
        *,
        status: DeliveryStatus | None,
        order: Order,
        limit: int,
    ) -> Page[WebhookDelivery]:
        """An endpoint's. Raises `NotFound`."""
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            _existing(await tx.webhook_endpoints.find(endpoint_id), endpoint_id)
            found = await tx.webhook_deliveries.page(endpoint_id, status, order, limit + 1)
        return order.page(found, limit)

    async def delivery(self, principal: Principal, endpoint_id: UUID, delivery_id: UUID) -> WebhookDelivery:
        """One of an endpoint's. Raises `NotFound`."""
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            endpoint = await tx.webhook_endpoints.find(endpoint_id)
            found = await tx.webhook_deliveries.find(delivery_id)
        if endpoint is None or found is None or found.endpoint_id != endpoint_id:
            raise _no_delivery(delivery_id)
        return found

    async def resend(self, principal: Principal, endpoint_id: UUID, delivery_id: UUID) -> WebhookDelivery:
        """Deliver once more, under the same id, so that a receiver that has it already can tell.

        Raises `NotFound`; `Conflict` while the delivery is still on its way, or the endpoint is disabled.
        """
        await self._permit(principal, endpoint_id)
        async with self._database.transaction(principal.tenant_id) as tx:
            endpoint = _existing(await tx.webhook_endpoints.find(endpoint_id), endpoint_id)
            if not endpoint.enabled:
                raise Conflict(f"webhook endpoint {endpoint_id} is disabled; enable it first")
            message = NotificationDue(id=new_id(), tenant_id=tx.tenant_id, delivery_id=delivery_id)
            again = await tx.webhook_deliveries.begin_again(endpoint_id, delivery_id, message.id)
            if again is None:
                raise await self._not_resent(tx, endpoint_id, delivery_id)
            await tx.outbox.add(QueueName.NOTIFICATIONS, message, trace=current_traceparent())
            about: dict[str, JsonValue] = {"delivery_id": str(delivery_id)}
            await _record(tx, principal, "webhooks.resend", endpoint_id, about)
        return again

    async def _not_resent(self, tx: Transaction, endpoint_id: UUID, delivery_id: UUID) -> NotFound | Conflict:
        found = await tx.webhook_deliveries.find(delivery_id)
        if found is None or found.endpoint_id != endpoint_id:
            return _no_delivery(delivery_id)
        return Conflict(f"delivery {delivery_id} is still on its way")

    async def _permit(self, principal: Principal, endpoint_id: UUID) -> None:
        """Who lets events out must be allowed to read them."""
        await permit(self._database, principal, WRITE, _target(endpoint_id))
        await permit(self._database, principal, event_log.READ, _target(endpoint_id))


def _no_delivery(delivery_id: UUID) -> NotFound:
    return NotFound(f"there is no delivery {delivery_id}")


def _as_seen(principal: Principal, endpoint: WebhookEndpoint) -> WebhookEndpoint:
    """Paths and queries of such addresses are often secret themselves: who may only list sees where they begin."""
    if principal.may(WRITE):
        return endpoint
    url = httpx2.URL(endpoint.url)
    return endpoint.model_copy(update={"url": f"{url.scheme}://{url.netloc.decode()}/…"})


async def notify_all(
    tx: Transaction, deliveries: Sequence[WebhookDelivery], traces: Mapping[UUID, str | None]
) -> None:
    """Let the worker try new deliveries once this transaction commits. `traces` are traceparents by event id."""
    if not deliveries:
        return
    await tx.outbox.post(
        [_first_message(tx, one, traces.get(one.event_id) or current_traceparent()) for one in deliveries]
    )


def _first_message(tx: Transaction, delivery: WebhookDelivery, trace: str | None) -> Posting:
    message = NotificationDue(id=delivery.id, tenant_id=tx.tenant_id, delivery_id=delivery.id)
    return Posting(message.id, QueueName.NOTIFICATIONS, MESSAGE.dump_json(message).decode(), trace)


def place_of(tenant_id: UUID, endpoint_id: UUID, version: int) -> str:
    """What an endpoint's secret is sealed for."""
    return f"{tenant_id}/webhook_endpoints/{endpoint_id}/{version}"


async def reseal(database: Database, seal: SecretSeal, tenant_id: UUID) -> int:
    """Seal with the newest key what older ones sealed, so that these can be taken away; how many endpoints there were."""
    count = 0
    async with database.transaction(tenant_id) as tx:
        for endpoint_id in await tx.webhook_endpoints.sealed_otherwise(seal.key_id):
            secrets = await tx.webhook_endpoints.secrets(endpoint_id, for_update=True)
            if secrets is None:
                continue
            try:
                anew = _resealed(seal, tenant_id, endpoint_id, secrets)
            except SealBroken as error:
                log.error("secret not opened", reason=error.message)
                continue
            await tx.webhook_endpoints.put_secrets(endpoint_id, anew)
            count += 1
    return count


def _resealed(seal: SecretSeal, tenant_id: UUID, endpoint_id: UUID, secrets: SealedSecrets) -> SealedSecrets:
    def anew(sealed: bytes, version: int) -> bytes:
        place = place_of(tenant_id, endpoint_id, version)
        return seal.close(seal.open(sealed, place), place)

    version, previous = secrets.secret_version, secrets.previous_secret
    return secrets.model_copy(
        update={
            "secret": anew(secrets.secret, version),
            "previous_secret": None if previous is None else anew(previous, version - 1),
        }
    )


def _new_secret() -> SecretStr:
    return SecretStr(SECRET_PREFIX + base64.b64encode(os.urandom(_SECRET_BYTES)).decode())


async def _record(
    tx: Transaction, principal: Principal, action: str, endpoint_id: UUID, about: Mapping[str, JsonValue]
) -> None:
    await tx.audit.append([deed(principal, action, _target(endpoint_id), about)])


def _about(endpoint: WebhookEndpoint) -> dict[str, JsonValue]:
    """What the audit log keeps: paths and queries of such addresses are often secret themselves, and told apart by a digest."""
    filter_ = None if endpoint.filter is None else endpoint.filter.model_dump(mode="json")
    return {
        "name": endpoint.name,
        "host": httpx2.URL(endpoint.url).host,
        "url_digest": hashlib.sha256(endpoint.url.encode()).hexdigest()[:16],
        "filter": filter_,
        "enabled": endpoint.enabled,
    }


def _require_possible(draft: EndpointDraft) -> None:
    require_possible(draft.filter.types if draft.filter is not None else (), "body.filter.types")


def _target(endpoint_id: UUID) -> str:
    return f"webhook_endpoint:{endpoint_id}"


def _existing(endpoint: WebhookEndpoint | None, endpoint_id: UUID) -> WebhookEndpoint:
    if endpoint is None:
        raise _absent(endpoint_id)
    return endpoint


def _absent(endpoint_id: UUID) -> NotFound:
    return NotFound(f"there is no webhook endpoint {endpoint_id}")
