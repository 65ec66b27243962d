"""Which requests have the form that nearly all have, so that the short way may answer them (see `fast_calls`).

Any other, and any that asks for something besides its answer, is judged by the SDK's kernel, before anything has been done.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import mcp_types as types
import orjson
from mcp.server.connection import Connection
from mcp_types.methods import validate_client_request
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from devops_mcp.observability.tracing import TRACEPARENT

CALL = "tools/call"
LIST = "tools/list"
PING = "ping"
LISTS_KEY = "devops_mcp.lists"
"""In the state of a connection of the handshake era: it hears when what it has listed changes."""
_PARAMS: Mapping[str, frozenset[str]] = {
    CALL: frozenset({"name", "arguments", "_meta"}),
    LIST: frozenset({"cursor", "_meta"}),
    PING: frozenset({"_meta"}),
}
_ENVELOPE = (
    types.PROTOCOL_VERSION_META_KEY,
    types.CLIENT_CAPABILITIES_META_KEY,
    types.CLIENT_INFO_META_KEY,
)
_READ_PREFIXES = ("io.modelcontextprotocol/", "io.devops-mcp/")
_LONGEST_ENVELOPE = 4_096


class Plain(NamedTuple):
    """A plain request; `params` have the right types, `version` is the revision that its answer is written in."""

    id: str | int
    method: str
    params: dict[str, Any]
    version: str


def standing_alone(message: dict[str, Any]) -> Plain | None:
    """A request of 2026-07-28, which says itself who asks; None unless it is plain."""
    params = _params(message)
    meta = None if params is None else params.get("_meta")
    if params is None or meta is None or message["method"] == PING or not _says_little(meta, _ENVELOPE):
        return None
    envelope = orjson.dumps({key: meta[key] for key in _ENVELOPE if key in meta})
    if len(envelope) > _LONGEST_ENVELOPE or not _is_well_formed(envelope):
        return None
    return Plain(message["id"], message["method"], params, meta[types.PROTOCOL_VERSION_META_KEY])


def of_connection(message: dict[str, Any], connection: Connection) -> Plain | None:
    """A request of the handshake era, on a connection that began with `initialize`; None unless it is plain.

    With the first list of a connection begins the watch of what it has listed, which is not plain.
    """
    params = _params(message) if connection.initialize_accepted else None
    if params is None or not _says_little(params.get("_meta", {}), ()):
        return None
    if message["method"] == LIST and LISTS_KEY not in connection.state:
        return None
    return Plain(message["id"], message["method"], params, connection.protocol_version)


def _params(message: dict[str, Any]) -> dict[str, Any] | None:
    """The params of a request of ours that holds what such a one holds, each of its type; else None."""
    params: dict[str, Any] = message.get("params", {})
    known = _PARAMS.get(message["method"])
    if known is None or not params.keys() <= known:
        return None
    fits = (
        isinstance(params.get("_meta", {}), dict)
        and isinstance(params.get("arguments", {}), dict)
        and isinstance(params.get("cursor", ""), str)
        and (message["method"] != CALL or isinstance(params.get("name"), str))
    )
    return params if fits else None


def _says_little(meta: dict[str, Any], expected: tuple[str, ...]) -> bool:
    """Whether nothing in `_meta` changes the answer. What is neither the protocol's nor ours nobody here reads."""
    for key, value in meta.items():
        if key == "progressToken":
            if type(value) not in (str, int):
                return False
        elif key in (TRACEPARENT, "tracestate"):
            if not isinstance(value, str):
                return False
        elif key.startswith(_READ_PREFIXES) and key not in expected:
            return False
    return True


@lru_cache(maxsize=512)
def _is_well_formed(envelope: bytes) -> bool:
    """Whether the SDK takes it; each client sends the same one again and again."""
    meta = orjson.loads(envelope)
    version = meta.get(types.PROTOCOL_VERSION_META_KEY)
    if version not in MODERN_PROTOCOL_VERSIONS:
        return False
    try:
        validate_client_request(LIST, version, {"_meta": meta})
    except ValidationError:
        return False
    return True
