"""The journey of an event: a webhook's delivery accepted once, then processed once in effect."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import SecretStr

from devops_mcp.adapters.base import Answer, Delivery, Origin, WebhookSource
from devops_mcp.cache.notices import Notice, Notices
from devops_mcp.embedding.chunking import split
from devops_mcp.events.messages import EventReceived
from devops_mcp.events.model import EVENT, AlertEvent, Event
from devops_mcp.models.errors import InvalidInput, PlatformError, PoisonMessage, Unauthenticated
from devops_mcp.models.ids import new_id
from devops_mcp.models.passages import NewPassage, PassageKind
from devops_mcp.observability.metrics import Metrics
from devops_mcp.observability.tracing import TRACEPARENT, carry
from devops_mcp.operations.blobs import BlobStore
from devops_mcp.operations.event_texts import event_text, is_worth_finding
from devops_mcp.operations.facts import record_facts
from devops_mcp.operations.group_commit import GroupCommit
from devops_mcp.operations.item_indexing import request_vectors
from devops_mcp.operations.reactions import react
from devops_mcp.operations.rule_engine import RuleEngine
from devops_mcp.operations.settled_letters import log_settled
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.events import Acceptance, StoredEvent
from devops_mcp.repositories.transaction import Transaction

CONSUMER = "events"
AT_ONCE = 250
"""Events that are processed in one transaction at most, where they came in several batches."""
ABREAST = 2
"""Such transactions of a tenant at the same time, besides those that are held up."""
LARGE_PAYLOAD = 262_144
"""Bytes above which what a vendor sent is kept apart."""
_MAX_TEXT = 32_000
"""Characters of an event that are made searchable; the payload keeps the rest."""


class DeliveryOutcome(StrEnum):
    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    """Delivered before; nothing was stored."""
    IGNORED = "ignored"
    """Genuine, and nothing that anybody needs to hear of, such as a ping."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a delivery. `event_ids` are those stored now; `answer` is what its sender must be told, if anything."""

    outcome: DeliveryOutcome
    event_ids: tuple[UUID, ...] = ()
    answer: Answer | None = None


class EventIntake:
    """Takes webhooks in. Once `receive` has returned, the events are stored and on their way to the worker."""

    def __init__(self, database: Database, metrics: Metrics, blobs: BlobStore | None = None) -> None:
        self._database = database
        self._metrics = metrics
        self._blobs = blobs
        self._commits: GroupCommit[Acceptance, Sequence[UUID]] = GroupCommit(self._store)

    async def receive(
        self,
        system: str,
        source: WebhookSource,
        origin: Origin,
        secrets: tuple[SecretStr, ...],
        delivery: Delivery,
        client: Any = None,
    ) -> Receipt:
        """Verify, translate, respond to and store one delivery, in this order; a delivery that was stored before changes nothing.

        `secrets` are all in force for the integration, `client` is what its adapter's `connect` gave. Raises `Unauthenticated` for a
        delivery that was not signed with one of them, `InvalidInput` or `MalformedInput` for a body that is not what it claims to be,
        and an `UpstreamError` where its sender could not be asked for what the delivery needs.
        """
        try:
            receipt = await self._receive(source, origin, secrets, delivery, client)
        except PlatformError as error:
            self._metrics.webhook(system, error.code)
            raise
        self._metrics.webhook(system, receipt.outcome)
        return receipt

    async def _receive(
        self,
        source: WebhookSource,
        origin: Origin,
        secrets: tuple[SecretStr, ...],
        delivery: Delivery,
        client: Any,
    ) -> Receipt:
        keys = secrets if source.keys is None else await source.keys(client, delivery)
        if not keys:
            raise Unauthenticated(f"integration {origin.integration!r} has no webhook secret; configure one")
        source.verify(delivery, keys)
        events = source.parse(delivery, origin)
        documents = [document_of(event) for event in events]
        answer = None if source.respond is None else await source.respond(client, delivery)
        if not events:
            return Receipt(DeliveryOutcome.IGNORED, answer=answer)
        keys_of_it = delivery_keys(source, delivery, events)
        blob = await self._kept_apart(origin.tenant_id, delivery.body)
        body = delivery.body if blob is None else b""
        trace = carry().get(TRACEPARENT)
        taken = Acceptance(events, documents, keys_of_it, body, trace, blob, event_keys(events))
        stored = await self._commits.submit(origin.tenant_id, taken, len(body))
        outcome = DeliveryOutcome.ACCEPTED if stored else DeliveryOutcome.DUPLICATE
        return Receipt(outcome, tuple(stored), answer)

    async def _kept_apart(self, tenant_id: UUID, body: bytes) -> UUID | None:
        """Where a large payload is. A repeated delivery leaves its blob to upkeep: whether it is one is known when it is stored."""
        if self._blobs is None or len(body) <= LARGE_PAYLOAD:
            return None
        return await self._blobs.keep(tenant_id, body)

    async def _store(self, tenant_id: UUID, group: Sequence[Acceptance]) -> list[Sequence[UUID]]:
        """The events stored of each, none of one that is no news. Of those that repeat one of the same group, the first is."""
        first = _without_repetitions(group)
        unlike = [group[position] for position in first]
        stored = await self._database.write(tenant_id, lambda tx: tx.events.accept_all(unlike))
        new = {first[n]: ids for n, ids in stored.items()}
        return [new.get(position, ()) for position in range(len(group))]


def delivery_keys(source: WebhookSource, delivery: Delivery, events: Sequence[Event]) -> list[str]:
    """What a repetition of the delivery is told by: the vendor's id and, where that is not signed, the signed bytes.

    The types belong to the second key: a header that is not signed decides them, and bytes replayed under a wrong header must not keep
    the right delivery out.
    """
    keys: list[str] = []
    vendor_id = source.delivery_key(delivery)
    if vendor_id:
        keys.append(f"id:{vendor_id}")
    if not (vendor_id and source.signed_key):
        types = ",".join(sorted({event.type for event in events}))
        keys.append(f"body:{hashlib.sha256(delivery.body).hexdigest()}:{types}")
    return keys


def event_keys(events: Collection[Event]) -> dict[UUID, str]:
    """What single events are told by, whichever deliveries bring them: an alert that fires once, however often its group is sent."""
    keys = identities(events)
    for event in events:
        if isinstance(event, AlertEvent) and event.started_at is not None:
            since = event.started_at.astimezone(UTC).isoformat()
            keys[event.id] = f"alert:{event.fingerprint}:{event.type}:{since}"
    return keys


def identities(events: Collection[Event]) -> dict[UUID, str]:
    """What the vendor itself tells events by, whichever way we hear of them. With the type: two ways may tell more and less of the same."""
    return {event.id: f"event:{event.type}:{event.identity}" for event in events if event.identity}


class EventProcessor:
    """Gives events their effect: indexed for search, marked as processed, reacted to, and told to whoever listens."""

    def __init__(
        self, database: Database, notices: Notices, *, embeds: bool, rules: RuleEngine | None = None
    ) -> None:
        self._database = database
        self._notices = notices
        self._embeds = embeds
        self._rules = rules
        self._commits: GroupCommit[_Batch, set[UUID]] = GroupCommit(
            self._process_all, room=AT_ONCE, abreast=ABREAST
        )

    async def process(
        self, tenant_id: UUID, messages: Sequence[EventReceived], traces: Mapping[UUID, str] | None = None
    ) -> set[UUID]:
        """Process the events of these messages in one transaction; return the ids of the messages that had not been before.

        Batches that come at the same time share a transaction, so that they do not wait for each other's locks, and few go side by side.
        `traces` are the traceparents of the messages' processing, by message id; the notices carry them on. Notices go out for repeated
        messages too: the first time may have ended between the commit and the notice. Raises `PoisonMessage`, and nothing is done,
        when the tenant has no such event.
        """
        return await self._commits.submit(tenant_id, _Batch(messages, traces or {}), len(messages))

    async def _process_all(self, tenant_id: UUID, batches: Sequence["_Batch"]) -> list[set[UUID]]:
        messages = [message for batch in batches for message in batch.messages]
        trace_of = {m.event_id: batch.traces.get(m.id) for batch in batches for m in batch.messages}
        async with self._database.transaction(tenant_id) as tx:
            claimed = tx.processed.claim(CONSUMER, [message.id for message in messages])
            settled = tx.dead_letters.settle(CONSUMER, [message.id for message in messages])
            listening = tx.webhook_endpoints.listening()
            stored = {s.event.id: s for s in await tx.events.find([m.event_id for m in messages])}
            fresh = await claimed
            _require_all(messages, stored)
            new = [
                stored[event_id].event for event_id in _unique(m.event_id for m in messages if m.id in fresh)
            ]
            if new:
                await index_events(tx, new, embeds=self._embeds)
                await react(tx, new, await listening, trace_of, self._rules)
                # With the commit: what waits for a line of facts is all that the lock on it lasts for.
                record_facts(tx, new)
                tx.events.mark_processed([event.id for event in new])
            log_settled(CONSUMER, await settled)
        await self._notices.publish([notice_of(s, trace_of[event_id]) for event_id, s in stored.items()])
        return [_first_of(batch, fresh) for batch in batches]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Messages that came together, and the traceparents of their processing."""

    messages: Sequence[EventReceived]
    traces: Mapping[UUID, str]


def _first_of(batch: _Batch, fresh: set[UUID]) -> set[UUID]:
    """Which of the fresh are this batch's; a message that came twice at once is the first's."""
    own = fresh.intersection(message.id for message in batch.messages)
    fresh -= own
    return own


async def index_events(tx: Transaction, events: Sequence[Event], *, embeds: bool) -> None:
    """Make events searchable, by words with the next statement. What was made of them before is left as it is.

    Vectors are asked for under the new ids: where a passage was there already, there is none of that id, and nothing comes of it.
    """
    passages = _identified(events)
    if passages:
        tx.passages.put(passages, owner_id=None)
        if embeds:
            await request_vectors(tx, [id_ for id_, _ in passages])


async def index_events_anew(tx: Transaction, events: Sequence[Event], *, embeds: bool) -> None:
    """Make events searchable as they would be today: what was made of them before and is otherwise is replaced."""
    passages = _identified(events)
    now = [passage for _, passage in passages]
    await tx.passages.drop_outdated(PassageKind.EVENT, [event.id for event in events], now)
    added = await tx.passages.add(passages, owner_id=None)
    if added and embeds:
        await request_vectors(tx, added)


def event_uri(event_id: UUID) -> str:
    """The address of an event, the same for search results, notices and MCP resources."""
    return f"devops://events/{event_id}"


def notice_of(stored: StoredEvent, trace: str | None = None) -> Notice:
    """What listeners are told of an event; `trace` continues the one that brought it."""
    event = stored.event
    return Notice(
        tenant_id=event.tenant_id,
        event_id=event.id,
        type=event.type,
        system=event.system,
        source=event.source,
        subject=event.subject,
        title=event.title,
        uri=event_uri(event.id),
        occurred_at=event.occurred_at,
        traceparent=trace or stored.trace,
    )


def _require_all(messages: Sequence[EventReceived], stored: Mapping[UUID, StoredEvent]) -> None:
    for message in messages:
        if message.event_id not in stored:
            raise PoisonMessage(f"tenant {message.tenant_id} has no event {message.event_id}")


def _unique(ids: Iterable[UUID]) -> list[UUID]:
    return list(dict.fromkeys(ids))


def _identified(events: Iterable[Event]) -> list[tuple[UUID, NewPassage]]:
    """The passages of those that a search should know of, each under a new id."""
    return [
        (new_id(), passage) for event in events if is_worth_finding(event) for passage in _passages(event)
    ]


def _passages(event: Event) -> list[NewPassage]:
    return [
        NewPassage(
            kind=PassageKind.EVENT,
            source_id=event.id,
            part=part,
            title=event.title,
            text=text,
            uri=event_uri(event.id),
            occurred_at=event.occurred_at,
            metadata={
                "type": event.type,
                "system": event.system,
                "source": event.source,
                "subject": event.subject,
                "url": event.url,
            },
        )
        for part, text in enumerate(split(event_text(event)[:_MAX_TEXT]))
    ]


def _without_repetitions(group: Sequence[Acceptance]) -> list[int]:
    """The positions of those that share no key with an earlier one."""
    known: set[tuple[str, str]] = set()
    first: list[int] = []
    for position, delivery in enumerate(group):
        keys = {(delivery.events[0].source, key) for key in delivery.keys}
        if known.isdisjoint(keys):
            first.append(position)
        known |= keys
    return first


def document_of(event: Event) -> bytes:
    """The event as JSON that PostgreSQL can hold: it has no NUL in text or jsonb."""
    document = EVENT.dump_json(event)
    # The first look is cheap; it also finds an innocent backslash before "u0000".
    if b"\\u0000" in document and _holds_nul(event.model_dump(mode="json")):
        raise InvalidInput("the delivery holds a NUL character, which cannot be stored")
    return document


def _holds_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any(_holds_nul(part) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(_holds_nul(part) for part in value)
