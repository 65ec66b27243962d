"""Answers kept with their ETag, so that asking again costs no quota when nothing changed.

https://docs.github.com/rest/using-the-rest-api/best-practices-for-using-the-rest-api#use-conditional-requests-if-appropriate
"""

from collections import OrderedDict
from collections.abc import Mapping
from urllib.parse import urlencode

from devops_mcp.adapters.upstream import Reply

MAX_SHARE = 8
"""One answer takes at most this fraction of the room: an eighth."""


class EtagCache:
    """The answers used last, within a number and a size. It belongs to one client, hence to one credential."""

    def __init__(self, *, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, Reply] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def find(self, key: str) -> Reply | None:
        """The answer kept for `key`, which counts as used."""
        reply = self._entries.get(key)
        if reply is not None:
            self._entries.move_to_end(key)
        return reply

    def keep(self, key: str, reply: Reply) -> None:
        """Keep an answer that has an ETag; the least used ones leave to make room."""
        size = _size(key, reply)
        self._drop(key)
        if "etag" not in reply.headers or size * MAX_SHARE > self._max_bytes:
            return
        self._entries[key] = reply
        self._bytes += size
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: str) -> None:
        reply = self._entries.pop(key, None)
        if reply is not None:
            self._bytes -= _size(key, reply)


def cache_key(path: str, params: Mapping[str, object], accept: str) -> str:
    """The whole address and the media type: one address has several representations."""
    query = urlencode(sorted((name, str(value)) for name, value in params.items() if value is not None))
    return f"{path}?{query} {accept}"


def _size(key: str, reply: Reply) -> int:
    headers = sum(len(name) + len(value) for name, value in reply.headers.items())
    return len(key) + len(reply.body) + headers
