"""What a client has said that another connection has to hear as well: its handshake, what it subscribed to, and what it still waits for."""

from collections.abc import Iterator
from typing import Any

import orjson

from devops_mcp.models.errors import MalformedInput
from devops_mcp.serving.strict_json import loads

LOST = -32003
"""The code of our own answer to a call that nobody answers any more; mcp-server has it for the same."""
_KEY_IN_META = "io.devops-mcp/idempotencyKey"
_RETRY_AFTER = "io.devops-mcp/retryAfter"
_MAY_BE_DONE = "; this was not answered before, and may have been done: look before you call again"


class Spoken:
    """Messages are kept as the lines that they came in. What cannot be read is not kept: the server has refused it."""

    def __init__(self) -> None:
        self.waiting: dict[str | int, bytes] = {}
        """The requests without an answer, by their ids."""
        self._initialize: bytes | None = None
        self._initialized: bytes | None = None
        self._level: bytes | None = None
        self._subscribed: dict[str, bytes] = {}
        self._repeated: set[str | int] = set()

    def note(self, line: bytes, message: dict[str, Any]) -> None:
        """Remember what the client says."""
        method, request_id, params = message.get("method"), message.get("id"), message.get("params")
        params = params if isinstance(params, dict) else {}
        match method:
            case "initialize":
                self._begin_anew(line)
            case "notifications/initialized":
                self._initialized = line
            case "notifications/cancelled":
                self.answered(params.get("requestId"))
            case "logging/setLevel":
                self._level = line
            case "resources/subscribe":
                self._subscribed[str(params.get("uri"))] = line
            case "resources/unsubscribe":
                self._subscribed.pop(str(params.get("uri")), None)
        if method is not None and isinstance(request_id, str | int):
            self.waiting[request_id] = line

    def _begin_anew(self, line: bytes) -> None:
        """A handshake: nothing before it counts."""
        self.waiting.clear()
        self._repeated.clear()
        self._subscribed.clear()
        self._initialize, self._initialized, self._level = line, None, None

    def answered(self, request_id: object) -> None:
        if isinstance(request_id, str | int):
            self.waiting.pop(request_id, None)
            self._repeated.discard(request_id)

    def put_off_s(self, answer: dict[str, Any]) -> float | None:
        """The seconds after which to ask again: the server has not done with a request that was asked again. None where it has."""
        request_id, result = answer.get("id"), answer.get("result")
        if not isinstance(request_id, str | int) or request_id not in self._repeated:
            return None
        meta = result.get("_meta") if isinstance(result, dict) else None
        after_s = meta.get(_RETRY_AFTER) if isinstance(meta, dict) else None
        return float(after_s) if isinstance(after_s, int | float) else None

    @property
    def greeting(self) -> bytes | None:
        """The handshake to repeat; None where there was none, or it is itself not answered yet and so among `waiting`."""
        return None if self._initialize in self.waiting.values() else self._initialize

    def settings(self, *, resumed: bool) -> Iterator[bytes]:
        """What to say after the handshake; where the server has the subscriptions still, without these."""
        if self._initialized is not None:
            yield self._initialized
        if self._level is not None:
            yield self._level
        if not resumed:
            yield from self._subscribed.values()

    def asked_again(self) -> list[bytes]:
        """The requests that do no harm a second time."""
        again = {key: line for key, line in self.waiting.items() if _is_repeatable(message_in(line))}
        self._repeated.update(again)
        return list(again.values())

    def give_up_calls(self) -> list[bytes]:
        """Answers to the others, which then wait no more."""
        lost = [key for key, line in self.waiting.items() if not _is_repeatable(message_in(line))]
        return [self._refusal(request_id, "the connection broke off") for request_id in lost]

    def give_up(self, reason: str) -> list[bytes]:
        """Answers to all, which then wait no more."""
        return [self._refusal(request_id, reason) for request_id in list(self.waiting)]

    def _refusal(self, request_id: str | int, reason: str) -> bytes:
        line = self.waiting.pop(request_id)
        may_be_done = message_in(line).get("method") == "tools/call"
        error = {"code": LOST, "message": reason + _MAY_BE_DONE * may_be_done}
        return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "error": error})


def message_in(data: bytes) -> dict[str, Any]:
    """The message in a line, as far as it can be read: what is not one is the server's to refuse."""
    try:
        message = loads(data)
    except MalformedInput:
        return {}
    return message if isinstance(message, dict) else {}


def _is_repeatable(message: dict[str, Any]) -> bool:
    """All but calls of tools change nothing, or nothing more; and a call that is marked with a key is done once."""
    if message.get("method") != "tools/call":
        return True
    params = message.get("params")
    params = params if isinstance(params, dict) else {}
    places = (params.get("_meta"), params.get("arguments"))
    names = (_KEY_IN_META, "idempotency_key")
    return any(isinstance(place, dict) and place.get(name) for place, name in zip(places, names, strict=True))
