"""One queue: its messages, who is visible when, and what was sent lately."""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

from devops_mcp.embedded.sqs.ordering import GroupsInOrder, OldestFirst, Order
from devops_mcp.embedded.sqs.records import Lease, Message, Sighting
from devops_mcp.embedded.sqs.settings import QueueSettings

DEDUPLICATION_S = 300.0


class Place(Enum):
    VISIBLE = auto()
    DELAYED = auto()
    IN_FLIGHT = auto()


@dataclass(slots=True)
class _Held:
    """A message and where it is. `version` numbers the stay there, so that entries of an earlier one are known as old."""

    message: Message
    place: Place
    version: int = 0


class Queue:
    """Takes the time as an argument and does no I/O. Only the store changes it, by applying a record."""

    def __init__(self, name: str, settings: QueueSettings, tags: dict[str, str]) -> None:
        self.name = name
        self.settings = settings
        self.tags = tags
        self.created_at = 0.0
        self.modified_at = 0.0
        self.clear()

    def clear(self) -> None:
        """Forget every message and what was sent lately."""
        self._held: dict[str, _Held] = {}
        self._hidden: list[tuple[float, int, str]] = []
        self._version = 0
        self._counts = dict.fromkeys(Place, 0)
        self._sightings: dict[str, Sighting] = {}
        order = GroupsInOrder if self.settings.fifo else OldestFirst
        self._order: Order = order(self._visible)

    def count(self, place: Place, now: float) -> int:
        self.advance(now)
        return self._counts[place]

    def get(self, message_id: str) -> Message | None:
        held = self._held.get(message_id)
        return held.message if held else None

    def in_flight(self, message_id: str, now: float) -> bool:
        self.advance(now)
        held = self._held.get(message_id)
        return held is not None and held.place is Place.IN_FLIGHT

    def messages(self) -> Iterator[Message]:
        return (held.message for held in self._held.values())

    def delayed(self, now: float) -> Iterator[Message]:
        self.advance(now)
        return (held.message for held in self._held.values() if held.place is Place.DELAYED)

    def put(self, messages: Iterable[Message], now: float) -> None:
        for message in messages:
            held = self._held[message.id] = _Held(message, Place.VISIBLE)
            self._counts[Place.VISIBLE] += 1
            self._place(held, now)

    def lease(self, lease: Lease, now: float) -> None:
        """Set when the message is visible again, whatever it was; the past means now."""
        held = self._held.get(lease.id)
        if held is None:
            return
        held.message.visible_at = lease.visible_at
        held.message.receive_count = lease.receive_count
        held.message.first_received_at = lease.first_received_at
        self._unplace(held)
        self._place(held, now)

    def remove(self, message_id: str) -> None:
        held = self._held.pop(message_id, None)
        if held is not None:
            self._counts[held.place] -= 1
            self._order.freed(held.message, was_in_flight=held.place is Place.IN_FLIGHT)

    def advance(self, now: float) -> None:
        """Make visible what has become so by now."""
        while (due := self.next_due()) is not None and due <= now:
            held = self._held[heapq.heappop(self._hidden)[2]]
            self._unplace(held)
            self._place(held, now)

    def next_due(self) -> float | None:
        """When the next hidden message becomes visible, if nothing happens before."""
        while self._hidden:
            visible_at, version, message_id = self._hidden[0]
            held = self._held.get(message_id)
            if held is not None and held.version == version:
                return visible_at
            heapq.heappop(self._hidden)
        return None

    def has_visible(self, now: float) -> bool:
        """Whether a receiver would get something, which in a FIFO queue needs more than a visible message."""
        self.advance(now)
        return self._order.has_next()

    def take(self, now: float) -> Iterator[Message]:
        """Take messages from the visible ones in order; each must be leased or removed afterwards."""
        self.advance(now)
        return self._order.take()

    def remember(self, sightings: Iterable[Sighting]) -> None:
        self._sightings.update((sighting.key, sighting) for sighting in sightings)

    def sighting(self, key: str, now: float) -> Sighting | None:
        """What was sent with this deduplication key in the last five minutes."""
        while self._sightings:
            oldest = next(iter(self._sightings.values()))
            if oldest.until > now:
                break
            del self._sightings[oldest.key]
        return self._sightings.get(key)

    def sightings(self) -> list[Sighting]:
        return list(self._sightings.values())

    def expired(self, message: Message, now: float) -> bool:
        return message.sent_at + self.settings.retention_s <= now

    def _visible(self, message_id: str, version: int) -> Message | None:
        held = self._held.get(message_id)
        return held.message if held is not None and held.version == version else None

    def _place(self, held: _Held, now: float) -> None:
        """Put a message, counted as visible, where its times say."""
        message = held.message
        self._version = held.version = self._version + 1
        if message.visible_at <= now:
            self._order.add(message, held.version)
            return
        heapq.heappush(self._hidden, (message.visible_at, held.version, message.id))
        self._move(held, Place.IN_FLIGHT if message.receive_count else Place.DELAYED)
        if held.place is Place.IN_FLIGHT:
            self._order.leased(message)

    def _unplace(self, held: _Held) -> None:
        """Make a message count as visible, without offering it to receivers yet."""
        was_in_flight = held.place is Place.IN_FLIGHT
        self._move(held, Place.VISIBLE)
        held.version = 0
        if was_in_flight:
            self._order.freed(held.message, was_in_flight=True)

    def _move(self, held: _Held, place: Place) -> None:
        self._counts[held.place] -= 1
        self._counts[place] += 1
        held.place = place
