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
            return self._withdrawn(data, message)
        if "method" not in message or "id" not in message:
            return data
        number = next(self._numbers)
        self._open[number] = message["id"]
        return orjson.dumps({**message, "id": number})

    def for_server(self, line: bytes, message: dict[str, Any]) -> bytes | None:
        """What the server is to hear of a message of the client's; None for an answer that nobody waits for any more."""
        is_answer = "result" in message or "error" in message
        if "method" in message or message.get("id") is None or not is_answer:
            return line
        number = _number(message["id"])
        if number is None or number not in self._open:
            return None
        return orjson.dumps({**message, "id": self._open.pop(number)})

    def lose(self) -> list[bytes]:
        """Their connection has ended: what tells the client so."""
        numbers = list(self._open)
        self._open.clear()
        told = [{"requestId": number, "reason": _LOST} for number in numbers]
        return [orjson.dumps({"jsonrpc": "2.0", "method": _CANCELLED, "params": params}) for params in told]

    def _withdrawn(self, data: bytes, message: dict[str, Any]) -> bytes | None:
        """The server waits for an answer no more; None for one that nobody was asked for by this connection."""
        params = message.get("params")
        params = params if isinstance(params, dict) else {}
        for number, asked in self._open.items():
            if asked == params.get("requestId"):
                del self._open[number]
                return orjson.dumps({**message, "params": {**params, "requestId": number}})
        return None if "requestId" in params else data


def _number(said: object) -> int | None:
    """A number of ours as clients give it back: "1" and 1.0 are 1, as for the protocol's SDKs."""
    if not isinstance(said, str | int | float) or isinstance(said, bool):
        return None
    try:
        number = int(said)
    except (ValueError, OverflowError):
        return None
    return number if isinstance(said, str) or number == said else None
