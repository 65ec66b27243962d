"""Dead letters: filed from the queues' own, read, sent again and thrown away.

A letter belongs to the tenant that its message names. What names none that we know is the default tenant's: only our own services write to
the queues, so that it is nobody's data, and somebody has to see it.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias
from uuid import NAMESPACE_OID, UUID, uuid5

from pydantic import ValidationError

from devops_mcp.cache.changes import Changes
from devops_mcp.events.messages import MESSAGE, Message, group_in
from devops_mcp.events.queues import QueueName, QueueSpec
from devops_mcp.events.received import Epitaph, Received
from devops_mcp.models.base import Clock, Model, utc_now
from devops_mcp.models.dead_letters import DeadLetter, DeadLetterSummary
from devops_mcp.models.errors import Conflict, NotFound
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.pages import Order, Page
from devops_mcp.models.principals import Principal
from devops_mcp.models.tasks import Task
from devops_mcp.operations.contexts import require
from devops_mcp.operations.deeds import deed, permit
from devops_mcp.operations.event_replays import CONSUMER as REPLAYS
from devops_mcp.operations.message_deaths import end_what_waits, take_up_again
from devops_mcp.operations.settled_letters import SETTLES
from devops_mcp.operations.tasks import tell_of_task
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.outbox import Posting
from devops_mcp.repositories.transaction import Transaction

READ = "dead_letters:read"
PAYLOAD = "dead_letters:payload"
REDRIVE = "dead_letters:redrive"
PURGE = "dead_letters:purge"
CONSUMER = "dead_letters"
"""Of the queues' ids of letters, and of the messages that died, in `processed_messages`."""
AT_ONCE = 1_000
"""Letters that one request sends again, in one transaction."""
_CHUNK = 100
_PURGED_AT_ONCE = 5_000
"""Letters that one statement throws away, as it has a time limit."""
_TYPE = re.compile(r"[a-z_.]{1,100}")
_Again: TypeAlias = tuple[DeadLetter, Message]
"""A letter, and what it holds, as it is sent again."""


class Redriven(Model):
    """How many letters were sent again; how many could not be, because this version cannot read them; whether there are more."""

    redriven: int
    unreadable: int
    more: bool


class Purged(Model):
    purged: int


class _Named(Model, extra="ignore"):
    """Of a message of another version, all that is needed to file it."""

    id: UUID
    tenant_id: UUID
    type: str | None = None


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A letter under the queue's ids: its own and that of the message that died, the same where the queue itself moved it."""

    letter: DeadLetter
    id: UUID
    died: UUID


class DeadLetterFiler:
    """Files what died in a queue; delivered twice, a letter is filed once. `changes` tells those who watch what ends with it."""

    def __init__(self, database: Database, changes: Changes | None = None, *, now: Clock = utc_now) -> None:
        self._database = database
        self._changes = changes
        self._now = now

    async def file(self, spec: QueueSpec, letters: Sequence[Received]) -> None:
        """Once this returns, the letters are in the table, and may be deleted from the queue.

        What has had its effect is not dead: its workers died one after the other between the commit and the deletion. What has it later, by
        a worker that was slow, settles its letter.
        """
        known = set(await self._database.tenant_ids())
        by_tenant: defaultdict[UUID, list[_Arrival]] = defaultdict(list)
        for received in letters:
            named = _read(received.body)
            tenant_id = named.tenant_id if named and named.tenant_id in known else DEFAULT_TENANT_ID
            by_tenant[tenant_id].append(self._arrival(spec, received, named))
        for tenant_id, arrivals in by_tenant.items():
            async with self._database.transaction(tenant_id) as tx:
                ended = await self._file(tx, spec, arrivals)
            for task in ended:
                await tell_of_task(self._changes, task)

    async def _file(self, tx: Transaction, spec: QueueSpec, arrivals: Sequence[_Arrival]) -> list[Task]:
        """File those of a tenant that have not been yet; the tasks that ended with them.

        A letter comes again where it was not deleted, and so does the message of which one was written: each may have been sent again
        since, and what goes on with it must not end.
        """
        first = await tx.processed.claim(CONSUMER, [id_ for a in arrivals for id_ in (a.id, a.died)])
        ids = [a.letter.message_id for a in arrivals if a.id in first]
        done = await _done(tx, spec.name, ids)
        filed = [a for a in arrivals if a.id in first and a.letter.message_id not in done]
        await tx.dead_letters.add([a.letter for a in filed])
        deaths = [(_message(a.letter, tx.tenant_id), a.letter.reason) for a in filed if a.died in first]
        ended = [await end_what_waits(tx, message, reason) for message, reason in deaths if message]
        return [task for task in ended if task]

    def _arrival(self, spec: QueueSpec, received: Received, named: _Named | None) -> _Arrival:
        epitaph = received.epitaph or Epitaph(
            reason=f"the queue gave it up after {spec.max_receives} deliveries that nobody answered for",
            attempts=spec.max_receives,
            message_id=received.message_id,
            died_at=self._now(),
        )
        letter = DeadLetter(
            id=new_id(),
            queue=spec.name,
            message_id=str(named.id) if named else epitaph.message_id,
            type=named.type if named and _TYPE.fullmatch(named.type or "") else None,
            body=received.body,
            reason=epitaph.reason,
            attempts=epitaph.attempts,
            trace=received.traceparent,
            died_at=epitaph.died_at,
        )
        return _Arrival(letter, _as_uuid(received.message_id), _as_uuid(epitaph.message_id))


class DeadLetterService:
    """The dead letters of the principal's tenant."""

    def __init__(self, database: Database, changes: Changes | None = None) -> None:
        self._database = database
        self._changes = changes

    async def page(
        self, principal: Principal, *, queue: QueueName | None, order: Order, limit: int
    ) -> Page[DeadLetterSummary]:
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            found = await tx.dead_letters.page(queue, order, limit + 1)
        return order.page(found, limit)

    async def get(self, principal: Principal, letter_id: UUID) -> DeadLetter:
        """With its body, for who may see payloads. Raises `NotFound`."""
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            letter = await _existing(tx, letter_id)
        return letter if principal.may(PAYLOAD) else letter.model_copy(update={"body": None})

    async def redrive(self, principal: Principal, letter_id: UUID) -> None:
        """Send one again, under its old id: what it had its effect for already stays as it is.

        Raises `NotFound`; `Conflict` for one that this version cannot read, which would die again.
        """
        await permit(self._database, principal, REDRIVE, f"dead_letter:{letter_id}")
        async with self._database.transaction(principal.tenant_id) as tx:
            letter = await _existing(tx, letter_id)
            if (message := _message(letter, principal.tenant_id)) is None:
                raise Conflict(f"dead letter {letter_id} is no message that this version can read")
            if not await tx.dead_letters.remove([letter_id]):
                raise _absent(letter_id)
            revived = await _send_again(tx, [(letter, message)])
            about = {"queue": letter.queue, "message_id": letter.message_id}
            await tx.audit.append(
                [deed(principal, "dead_letters.redrive", f"dead_letter:{letter_id}", about)]
            )
        await self._tell(revived)

    async def redrive_all(self, principal: Principal, queue: QueueName) -> Redriven:
        """Send those of a queue again, oldest first, up to `AT_ONCE` of them; unreadable ones stay."""
        await permit(self._database, principal, REDRIVE, f"queue:{queue}")
        async with self._database.transaction(principal.tenant_id) as tx:
            found, unreadable, more = await self._readable(tx, queue)
            removed = await tx.dead_letters.remove(list(found))
            revived = await _send_again(tx, [again for id_, again in found.items() if id_ in removed])
            about = {"redriven": len(removed), "unreadable": unreadable}
            await tx.audit.append([deed(principal, "dead_letters.redrive", f"queue:{queue}", about)])
        await self._tell(revived)
        return Redriven(redriven=len(removed), unreadable=unreadable, more=more)

    async def purge(self, principal: Principal, letter_id: UUID) -> None:
        """Throw one away. Raises `NotFound`."""
        await permit(self._database, principal, PURGE, f"dead_letter:{letter_id}")
        async with self._database.transaction(principal.tenant_id) as tx:
            letter = await _existing(tx, letter_id)
            if not await tx.dead_letters.remove([letter_id]):
                raise _absent(letter_id)
            about = {"queue": letter.queue, "message_id": letter.message_id}
            await tx.audit.append([deed(principal, "dead_letters.purge", f"dead_letter:{letter_id}", about)])

    async def purge_all(self, principal: Principal, queue: QueueName) -> Purged:
        """Throw all of a queue away."""
        await permit(self._database, principal, PURGE, f"queue:{queue}")
        async with self._database.transaction(principal.tenant_id) as tx:
            purged, removed = 0, _PURGED_AT_ONCE
            while removed == _PURGED_AT_ONCE:
                removed = await tx.dead_letters.purge(queue, _PURGED_AT_ONCE)
                purged += removed
            await tx.audit.append(
                [deed(principal, "dead_letters.purge", f"queue:{queue}", {"purged": purged})]
            )
        return Purged(purged=purged)

    async def _tell(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            await tell_of_task(self._changes, task)

    async def _readable(self, tx: Transaction, queue: QueueName) -> tuple[dict[UUID, _Again], int, bool]:
        """The oldest letters that can be sent again; how many were passed over; whether there are more behind them."""
        found: dict[UUID, _Again] = {}
        unreadable, after = 0, None
        while letters := await tx.dead_letters.oldest(queue, after, _CHUNK):
            for letter in letters:
                message = _message(letter, tx.tenant_id)
                if message is not None and len(found) == AT_ONCE:
                    return found, unreadable, True
                if message is None:
                    unreadable += 1
                else:
                    found[letter.id] = letter, message
                after = letter.id
        return found, unreadable, False


async def _done(tx: Transaction, queue: QueueName, message_ids: Sequence[str]) -> set[str]:
    """Those of the queue's messages that have had their effect; in `SETTLES` no other is given it before the transaction ends."""
    if queue in SETTLES:
        ids = {id_: UUID(id_) for id_ in message_ids if _is_uuid(id_)}
        unprocessed = await tx.processed.unprocessed(queue, list(ids.values()))
        return {id_ for id_, uuid in ids.items() if uuid not in unprocessed}
    return await tx.processed.among(queue, message_ids) | await tx.processed.among(REPLAYS, message_ids)


async def _send_again(tx: Transaction, letters: Sequence[_Again]) -> list[Task]:
    """The tasks that go on with it."""
    revived = [await take_up_again(tx, message) for _, message in letters]
    await tx.outbox.post([_posting(letter, message) for letter, message in letters])
    return [task for task in revived if task]


def _posting(letter: DeadLetter, message: Message) -> Posting:
    """The message as it goes into the outbox."""
    queue = QueueName(letter.queue)
    return Posting(message.id, queue, letter.body or "", letter.trace, group_in(queue, message))


def _message(letter: DeadLetter, tenant_id: UUID) -> Message | None:
    """What died; None when it is not one of this tenant that we can read."""
    try:
        message: Message = MESSAGE.validate_json(letter.body or "")
    except ValidationError:
        return None
    return message if message.tenant_id == tenant_id else None


def _read(body: str) -> _Named | None:
    try:
        return _Named.model_validate_json(body)
    except ValidationError:
        return None


def _as_uuid(message_id: str) -> UUID:
    """The queue's id of a message, which is one as a rule."""
    return UUID(message_id) if _is_uuid(message_id) else uuid5(NAMESPACE_OID, message_id)


def _is_uuid(message_id: str) -> bool:
    try:
        UUID(message_id)
    except ValueError:
        return False
    return True


async def _existing(tx: Transaction, letter_id: UUID) -> DeadLetter:
    letter = await tx.dead_letters.find(letter_id)
    if letter is None:
        raise _absent(letter_id)
    return letter


def _absent(letter_id: UUID) -> NotFound:
    return NotFound(f"there is no dead letter {letter_id}")
