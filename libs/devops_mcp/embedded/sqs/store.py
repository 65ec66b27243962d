"""All queues, and everything that may happen to them: the state machine of the server, without I/O.

Every change is a record that is applied here and handed to `recorded`; applying the same records to an empty store gives the same store.
Time and ids are arguments.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from devops_mcp.embedded.sqs.drafts import Draft, check_draft, deduplication
from devops_mcp.embedded.sqs.errors import Refused, invalid_parameter, queue_does_not_exist
from devops_mcp.embedded.sqs.handles import read_handle
from devops_mcp.embedded.sqs.queue import DEDUPLICATION_S, Queue
from devops_mcp.embedded.sqs.records import (
    Lease,
    Leased,
    Message,
    Moved,
    Purged,
    Put,
    QueueDropped,
    QueueKept,
    Record,
    Removed,
    Sighting,
)
from devops_mcp.embedded.sqs.settings import QueueSettings, arn_of, changed_attributes, new_attributes

_SOURCE = "DeadLetterQueueSourceArn"


@dataclass(frozen=True, slots=True)
class Sent:
    message_id: str
    sequence: int


class Store:
    def __init__(
        self, *, clock: Callable[[], float], new_id: Callable[[], str], recorded: Callable[[Record], None]
    ) -> None:
        self.clock = clock
        self.new_id = new_id
        self.queues: dict[str, Queue] = {}
        self._recorded = recorded
        self._sequence = 0

    def queue(self, name: str) -> Queue:
        """Raises `Refused` when there is none of that name."""
        queue = self.queues.get(name)
        if queue is None:
            raise queue_does_not_exist()
        return queue

    def create(self, name: str, given: Mapping[str, str], tags: Mapping[str, str]) -> Queue:
        """Make a queue, or return the one that has these attributes already; tags of an existing queue stay as they are."""
        existing = self.queues.get(name)
        if existing is not None:
            _check_same(existing, given)
            return existing
        attributes = new_attributes(name, given)
        self._check_dead_letter_target(attributes)
        now = self.clock()
        self._do(QueueKept(name, attributes, dict(tags), now, now))
        return self.queues[name]

    def delete(self, name: str) -> None:
        self._do(QueueDropped(self.queue(name).name))

    def set_attributes(self, name: str, given: Mapping[str, str]) -> None:
        """Change attributes; a FIFO queue's new delay also holds for messages that wait already, as AWS has it."""
        queue, now = self.queue(name), self.clock()
        attributes = changed_attributes(queue.settings.attributes, given)
        self._check_dead_letter_target(attributes)
        delayed = list(queue.delayed(now)) if queue.settings.fifo and "DelaySeconds" in given else []
        self._do(QueueKept(name, attributes, queue.tags, queue.created_at, now))
        if delayed:
            self._do(Leased(name, [_undelivered(m, m.sent_at + queue.settings.delay_s) for m in delayed]))

    def set_tags(self, name: str, tags: dict[str, str]) -> None:
        queue = self.queue(name)
        self._do(QueueKept(name, dict(queue.settings.attributes), tags, queue.created_at, queue.modified_at))

    def send(self, name: str, draft: Draft) -> Sent:
        """Raises `Refused` for a message that the queue does not take."""
        queue, now = self.queue(name), self.clock()
        check_draft(queue.settings, draft)
        deduplication_id, key = deduplication(queue.settings, draft)
        if key is not None and (earlier := queue.sighting(key, now)) is not None:
            return Sent(earlier.message_id, earlier.sequence)
        message = Message(
            id=self.new_id(),
            body=draft.body,
            sequence=self._next_sequence(now),
            sent_at=now,
            visible_at=now + (queue.settings.delay_s if draft.delay_s is None else draft.delay_s),
            attributes=dict(draft.attributes),
            system=dict(draft.system),
            group=draft.group,
            deduplication_id=deduplication_id,
        )
        until = now + DEDUPLICATION_S
        sightings = [] if key is None else [Sighting(key, message.id, message.sequence, until)]
        self._do(Put(name, [message], sightings))
        return Sent(message.id, message.sequence)

    def receive(self, name: str, limit: int, visibility_s: int | None = None) -> list[Message]:
        """Lease up to `limit` messages; those received too often go to the dead-letter queue instead, those too old are dropped."""
        queue, now = self.queue(name), self.clock()
        chosen: list[Message] = []
        dead: list[Message] = []
        expired: list[str] = []
        for message in queue.take(now):
            if queue.expired(message, now):
                expired.append(message.id)
            elif self._is_dead(queue, message):
                dead.append(message)
            else:
                chosen.append(message)
            if len(chosen) == limit:
                break
        self._remove(name, expired)
        self._bury(queue, dead, now)
        lease_s = queue.settings.visibility_s if visibility_s is None else visibility_s
        if chosen:
            self._do(Leased(name, [_next_lease(message, now, lease_s) for message in chosen]))
        return chosen

    def acknowledge(self, name: str, handle: str) -> None:
        """Delete a received message; deleting it twice is fine.

        Any of a message's handles will do, except in a FIFO queue, where the lease must not have ended.
        """
        queue = self.queue(name)
        message_id, receive_count = read_handle(name, handle)
        message = queue.get(message_id)
        if message is None:
            return
        if queue.settings.fifo and not self._holds(queue, message, receive_count):
            raise invalid_parameter(handle, "ReceiptHandle", "The receipt handle has expired.")
        self._remove(name, [message_id])

    def change_visibility(self, name: str, handle: str, visibility_s: int) -> None:
        """End or extend a lease. Raises `Refused` when the handle's lease is over."""
        queue, now = self.queue(name), self.clock()
        message_id, receive_count = read_handle(name, handle)
        message = queue.get(message_id)
        if message is None or message.receive_count != receive_count:
            raise invalid_parameter(
                handle,
                "ReceiptHandle",
                "Message does not exist or is not available for visibility timeout change.",
            )
        if not queue.in_flight(message_id, now):
            raise Refused("MessageNotInflight", "The specified message isn't in flight.")
        self._do(Leased(name, [replace(_current_lease(message), visible_at=now + visibility_s)]))

    def purge(self, name: str) -> None:
        self._do(Purged(self.queue(name).name))

    def expire(self) -> None:
        """Drop what is older than its queue's retention."""
        now = self.clock()
        for queue in self.queues.values():
            self._remove(queue.name, [m.id for m in queue.messages() if queue.expired(m, now)])

    def sources_of(self, name: str) -> list[Queue]:
        """The queues whose dead letters go to this one."""
        return [
            q
            for q in self.queues.values()
            if q.settings.redrive is not None and q.settings.redrive.dead_letter_queue == name
        ]

    def redrive(self, source: str, limit: int, target_of: Callable[[Message], str]) -> int:
        """Move up to `limit` visible messages as new ones, as a message move task does; return how many there were.

        AWS gives them a new id and a new time of sending. Raises `Refused` where a target is missing, with nothing moved.
        """
        queue, now = self.queue(source), self.clock()
        moves: dict[str, list[Message]] = {}
        taken: list[Message] = []
        for message in queue.take(now):
            taken.append(message)
            if len(taken) == limit:
                break
        try:
            for message in taken:
                moves.setdefault(self.queue(target_of(message)).name, []).append(message)
        except Refused:
            self._do(Leased(source, [_current_lease(message) for message in taken]))
            raise
        for target, messages in moves.items():
            fresh = [self._resent(m, self.queues[target].settings, now) for m in messages]
            self._do(Moved(source, target, [m.id for m in messages], fresh))
        return len(taken)

    def snapshot(self) -> Iterator[Record]:
        """Records that make this store from an empty one; what the journal is compacted to."""
        for queue in self.queues.values():
            settings = dict(queue.settings.attributes)
            yield QueueKept(queue.name, settings, queue.tags, queue.created_at, queue.modified_at)
            yield Put(queue.name, list(queue.messages()), queue.sightings())

    def apply(self, record: Record) -> None:
        """Make the change that a record says, without checks and without recording it: what replays a journal."""
        now = self.clock()
        match record:
            case QueueKept():
                self._keep_queue(record)
            case QueueDropped():
                self.queues.pop(record.name, None)
            case Put():
                self._receive_sequence(record.messages)
                self.queues[record.queue].put(record.messages, now)
                self.queues[record.queue].remember(record.sightings)
            case Leased():
                for lease in record.leases:
                    self.queues[record.queue].lease(lease, now)
            case Removed():
                for message_id in record.ids:
                    self.queues[record.queue].remove(message_id)
            case Moved():
                for message_id in record.ids:
                    self.queues[record.source].remove(message_id)
                self._receive_sequence(record.messages)
                self.queues[record.target].put(record.messages, now)
            case Purged():
                self.queues[record.queue].clear()

    def _do(self, record: Record) -> None:
        # Recorded before it is applied: applying may go on to change the messages that the record holds.
        self._recorded(record)
        self.apply(record)

    def _keep_queue(self, record: QueueKept) -> None:
        settings = QueueSettings.of(record.attributes)
        queue = self.queues.get(record.name)
        if queue is None:
            queue = self.queues[record.name] = Queue(record.name, settings, record.tags)
        queue.settings, queue.tags = settings, record.tags
        queue.created_at, queue.modified_at = record.created_at, record.modified_at

    def _check_dead_letter_target(self, attributes: Mapping[str, str]) -> None:
        settings = QueueSettings.of(attributes)
        if settings.redrive is None:
            return
        target = self.queues.get(settings.redrive.dead_letter_queue)
        if target is None:
            reason = "Dead letter target does not exist."
            raise invalid_parameter(attributes["RedrivePolicy"], "RedrivePolicy", reason)
        if target.settings.fifo != settings.fifo:
            reason = "Dead letter target must be of the same type as the source queue."
            raise invalid_parameter(attributes["RedrivePolicy"], "RedrivePolicy", reason)

    def _next_sequence(self, now: float) -> int:
        # Microseconds, so that numbers go on rising after a start that no longer sees the messages deleted before.
        self._sequence = max(self._sequence + 1, int(now * 1_000_000))
        return self._sequence

    def _receive_sequence(self, messages: Sequence[Message]) -> None:
        self._sequence = max((self._sequence, *(message.sequence for message in messages)))

    def _remove(self, name: str, ids: list[str]) -> None:
        if ids:
            self._do(Removed(name, ids))

    def _is_dead(self, queue: Queue, message: Message) -> bool:
        redrive = queue.settings.redrive
        return (
            redrive is not None
            and message.receive_count >= redrive.max_receive_count
            and redrive.dead_letter_queue in self.queues
        )

    def _bury(self, queue: Queue, dead: list[Message], now: float) -> None:
        if not dead:
            return
        assert queue.settings.redrive is not None
        target = self.queues[queue.settings.redrive.dead_letter_queue]
        letters = [
            replace(
                message,
                sequence=self._next_sequence(now),
                # A FIFO queue's dead letters begin their retention anew.
                sent_at=now if queue.settings.fifo else message.sent_at,
                visible_at=now + target.settings.delay_s,
                system={**message.system, _SOURCE: arn_of(queue.name)},
                receive_count=0,
                earlier_receives=message.earlier_receives + message.receive_count,
                first_received_at=None,
            )
            for message in dead
        ]
        self._do(Moved(queue.name, target.name, [message.id for message in dead], letters))

    def _resent(self, message: Message, target: QueueSettings, now: float) -> Message:
        return replace(
            message,
            id=self.new_id(),
            sequence=self._next_sequence(now),
            sent_at=now,
            visible_at=now + target.delay_s,
            system={name: value for name, value in message.system.items() if name != _SOURCE},
            receive_count=0,
            earlier_receives=0,
            first_received_at=None,
        )

    def _holds(self, queue: Queue, message: Message, receive_count: int) -> bool:
        return message.receive_count == receive_count and queue.in_flight(message.id, self.clock())


def _check_same(queue: Queue, given: Mapping[str, str]) -> None:
    changed_attributes(queue.settings.attributes, {k: v for k, v in given.items() if k != "FifoQueue"})
    for name, value in given.items():
        if queue.settings.attributes.get(name) != value:
            raise Refused(
                "QueueNameExists",
                f"A queue already exists with the same name and a different value for attribute {name}",
            )


def _next_lease(message: Message, now: float, lease_s: int) -> Lease:
    first = now if message.first_received_at is None else message.first_received_at
    return Lease(message.id, now + lease_s, message.receive_count + 1, first)


def _current_lease(message: Message) -> Lease:
    return Lease(message.id, message.visible_at, message.receive_count, message.first_received_at)


def _undelivered(message: Message, visible_at: float) -> Lease:
    return replace(_current_lease(message), visible_at=visible_at)
