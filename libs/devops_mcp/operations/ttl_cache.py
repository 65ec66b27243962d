"""A small cache of one process, bounded in entries and in time."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class TtlCache(Generic[V]):
    """Keeps each value for its own time; the least recently used goes first when `max_entries` is reached."""

    def __init__(self, *, monotonic: Callable[[], float], max_entries: int = 2_000) -> None:
        self._monotonic = monotonic
        self._max_entries = max_entries
        self._entries: OrderedDict[Hashable, tuple[float, V]] = OrderedDict()

    def get(self, key: Hashable) -> V | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= self._monotonic():
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def put(self, key: Hashable, value: V, for_s: float) -> None:
        self._entries[key] = (self._monotonic() + for_s, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
