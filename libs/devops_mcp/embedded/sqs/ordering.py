"""Which visible message comes next.

An entry is good for one stay among the visible, which `version` numbers: `lookup` returns None once the message is deleted or hidden,
even if it has come back since. Such entries are skipped when they are met.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from devops_mcp.embedded.sqs.records import Message

Lookup: TypeAlias = Callable[[str, int], Message | None]
_Entry: TypeAlias = tuple[int, str, int]  # sequence, message id, version


class Order(Protocol):
    """The visible messages of a queue."""

    def add(self, message: Message, version: int) -> None:
        """The message became visible."""
        ...

    def has_next(self) -> bool:
        """Whether a message could be received now."""
        ...

    def take(self) -> Iterator[Message]:
        """Take messages out, as many as are asked for. What became of each is told afterwards: `leased`, `add` or `freed`."""
        ...

    def leased(self, message: Message) -> None:
        """A message that was taken is in flight."""
        ...

    def freed(self, message: Message, *, was_in_flight: bool) -> None:
        """A message stands in nobody's way any more: it came back, or is gone from the queue."""
        ...


class OldestFirst:
    """A standard queue: by sequence, so that a message which returns comes before younger ones."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._heap: list[_Entry] = []

    def add(self, message: Message, version: int) -> None:
        heapq.heappush(self._heap, (message.sequence, message.id, version))

    def has_next(self) -> bool:
        while self._heap and self._lookup(*self._heap[0][1:]) is None:
            heapq.heappop(self._heap)
        return bool(self._heap)

    def take(self) -> Iterator[Message]:
        while self._heap:
            message = self._lookup(*heapq.heappop(self._heap)[1:])
            if message is not None:
                yield message

    def leased(self, message: Message) -> None:
        pass

    def freed(self, message: Message, *, was_in_flight: bool) -> None:
        pass


@dataclass(slots=True)
class _Group:
    heap: list[_Entry] = field(default_factory=list)
    in_flight: int = 0


class GroupsInOrder:
    """A FIFO queue: a group gives messages only while none of its own is in flight; then as many as are asked for."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._groups: dict[str, _Group] = {}
        self._open: list[tuple[int, str]] = []
        """Groups by their first message; an entry that is no longer true is skipped."""

    def add(self, message: Message, version: int) -> None:
        group = self._groups.setdefault(_name(message), _Group())
        heapq.heappush(group.heap, (message.sequence, message.id, version))
        self._open_if_free(_name(message))

    def has_next(self) -> bool:
        while self._open and not self._is_open(self._open[0]):
            heapq.heappop(self._open)
        return bool(self._open)

    def take(self) -> Iterator[Message]:
        while self.has_next():
            group = self._groups[heapq.heappop(self._open)[1]]
            while group.heap:
                message = self._lookup(*heapq.heappop(group.heap)[1:])
                if message is not None:
                    yield message

    def leased(self, message: Message) -> None:
        self._groups.setdefault(_name(message), _Group()).in_flight += 1

    def freed(self, message: Message, *, was_in_flight: bool) -> None:
        if was_in_flight:
            self._groups[_name(message)].in_flight -= 1
        self._open_if_free(_name(message))

    def _open_if_free(self, name: str) -> None:
        group = self._groups.get(name)
        if group is None or group.in_flight:
            return
        self._drop_deleted(group)
        if group.heap:
            heapq.heappush(self._open, (group.heap[0][0], name))
        else:
            del self._groups[name]

    def _is_open(self, place: tuple[int, str]) -> bool:
        group = self._groups.get(place[1])
        if group is None or group.in_flight:
            return False
        self._drop_deleted(group)
        return bool(group.heap) and group.heap[0][0] == place[0]

    def _drop_deleted(self, group: _Group) -> None:
        while group.heap and self._lookup(*group.heap[0][1:]) is None:
            heapq.heappop(group.heap)


def _name(message: Message) -> str:
    return message.group or ""
