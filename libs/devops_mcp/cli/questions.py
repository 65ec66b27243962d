"""What the server asks of a client (a form, a text of its model, its roots), and whom an answer is for.

A question ends with the connection that it came by. Every connection numbers its own, so here they are numbered through: an answer that
comes late is never taken for one to a question of another connection.
"""

from itertools import count
from typing import Any

import orjson

_CANCELLED = "notifications/cancelled"
_LOST = "the connection to the server was lost"


class Questions:
    """Those of one client. Messages that have nothing to do with them pass as they are."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._open: dict[int, object] = {}
        """The server's ids of the questions that wait for an answer, by the ids that the client knows."""

    def for_client(self, data: bytes, message: dict[str, Any]) -> bytes | None:
        """What the client is to hear of a message of the server's; None for nothing."""
        if message.get("method") == _CANCELLED:
            return self._withdrawn(message)
        if "method" not in message or "id" not in message:
            return data
        number = next(self._numbers)
        self._open[number] = message["id"]
        return orjson.dumps({**message, "id": number})

    def for_server(self, line: bytes, message: dict[str, Any]) -> bytes | None:
        """What the server is to hear of a message of the client's; None for an answer that nobody waits for any more."""
        if "method" in message or message.get("id") is None:
            return line
        number = message["id"]
        if not isinstance(number, int) or number not in self._open:
            return None
        return orjson.dumps({**message, "id": self._open.pop(number)})

    def lose(self) -> list[bytes]:
        """Their connection has ended: what tells the client so."""
        numbers = list(self._open)
        self._open.clear()
        told = [{"requestId": number, "reason": _LOST} for number in numbers]
        return [orjson.dumps({"jsonrpc": "2.0", "method": _CANCELLED, "params": params}) for params in told]

    def _withdrawn(self, message: dict[str, Any]) -> bytes | None:
        """The server waits for an answer no more."""
        params = message.get("params")
        params = params if isinstance(params, dict) else {}
        for number, asked in self._open.items():
            if asked == params.get("requestId"):
                del self._open[number]
                return orjson.dumps({**message, "params": {**params, "requestId": number}})
        return None
