"""What a request's head must satisfy before anything acts on it (RFC 9112, with limits).

uvicorn's httptools parser refuses most framing faults itself, but takes a missing or repeated Host, heads of any size, a
Transfer-Encoding that ends in chunked after something else, and a body behind an upgrade, which it then loses.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from devops_mcp.serving.limits import Limits

Headers = Sequence[tuple[bytes, bytes]]

_HOST = re.compile(rb"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)", re.IGNORECASE)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_WEBSOCKET_HEADER_BYTES = 8_000  # the websockets library reads lines of up to 8,192 bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a request is refused before it reaches the application; `reason` is what it is counted as."""

    status: int
    reason: str
    detail: str


MALFORMED = Fault(400, "malformed", "the request is not well-formed HTTP (RFC 9112)")
TARGET_TOO_LONG = Fault(414, "target", "the request target is too long")
HEAD_TOO_LARGE = Fault(431, "head", "the request's header fields are too large or too many")
FRAMING_WASTE = Fault(400, "framing", "the chunked body is more framing than content")
_BAD_HOST = Fault(400, "host", "a request needs exactly one valid Host")
_BAD_LENGTH = Fault(
    400, "length", "a request needs at most one valid Content-Length, and none beside Transfer-Encoding"
)
_BAD_CODING = Fault(400, "coding", "the only transfer coding is chunked, once, in HTTP/1.1")
_BAD_VERSION = Fault(400, "version", "the versions served are HTTP/1.0 and HTTP/1.1")
_BAD_METHOD = Fault(400, "method", "CONNECT is not served")
_BODY_BEHIND_UPGRADE = Fault(400, "upgrade", "a request for an upgrade carries no body")


def fault_in_head(
    method: bytes, target: bytes, version: str, headers: Headers, limits: Limits, *, upgrade: bool = False
) -> Fault | None:
    """The first thing wrong with a complete head; header names come in lower case."""
    if version not in ("1.1", "1.0"):
        return _BAD_VERSION
    if method == b"CONNECT":
        return _BAD_METHOD
    if len(target) > limits.target_bytes:
        return TARGET_TOO_LONG
    if len(headers) > limits.headers:
        return HEAD_TOO_LARGE
    return _fault_in_fields(target, version, headers, limits, upgrade)


def _fault_in_fields(
    target: bytes, version: str, headers: Headers, limits: Limits, upgrade: bool
) -> Fault | None:
    size = 0
    hosts: list[bytes] = []
    lengths: list[bytes] = []
    codings: list[bytes] = []
    for name, value in headers:
        size += len(name) + len(value)
        if name == b"host":
            hosts.append(value)
        elif name == b"content-length":
            lengths.append(value)
        elif name == b"transfer-encoding":
            codings.append(value)
    if size > limits.header_bytes or (upgrade and _has_long_field(headers)):
        return HEAD_TOO_LARGE
    return _fault_in_host(hosts, target) or _fault_in_framing(lengths, codings, version, upgrade)


def _fault_in_host(hosts: list[bytes], target: bytes) -> Fault | None:
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        return _BAD_HOST
    if target[:1] == b"/":
        return None
    absolute = _ABSOLUTE.match(target)
    return _BAD_HOST if absolute and absolute[1].lower() != hosts[0].lower() else None


def _fault_in_framing(
    lengths: list[bytes], codings: list[bytes], version: str, upgrade: bool
) -> Fault | None:
    if not lengths and not codings:
        return None
    if len(lengths) > 1 or (lengths and (codings or not _LENGTH.fullmatch(lengths[0]))):
        return _BAD_LENGTH
    if codings and (len(codings) > 1 or codings[0].lower() != b"chunked" or version != "1.1"):
        return _BAD_CODING
    if upgrade and (codings or int(lengths[0])):
        return _BODY_BEHIND_UPGRADE
    return None


def _has_long_field(headers: Headers) -> bool:
    return any(len(name) + len(value) > _WEBSOCKET_HEADER_BYTES for name, value in headers)
