"""Redirect addresses: which a client may name, and which of them a request means (OAuth 2.1 §2.3, RFC 8252)."""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from devops_mcp.models.errors import OAuthRefusal

MAX_CHARS = 2_000
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
DESKTOP_SCHEMES = frozenset({"cursor", "vscode", "vscode-insiders", "windsurf"})
"""Schemes of desktop clients that do not follow RFC 8252, which wants a domain's name backwards: `com.example.app`."""
_PRIVATE_SCHEME = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+")
_PRINTABLE = re.compile(r"[\x21\x23-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]+")
"""What may stand in an address: no space, quote, angle or curly bracket, backslash, and nothing beyond ASCII."""


def require_redirect_uri(uri: str) -> None:
    """Raise `OAuthRefusal` for an address that a code must not be sent to.

    Allowed are https, http on this machine (loopback), and schemes of a program's own.
    """
    parts = _split(uri)
    if parts is None or parts.fragment or "#" in uri or parts.username is not None:
        raise _refused(uri, "must be an absolute address without fragment and credentials")
    if parts.scheme == "https" and parts.hostname:
        return
    if is_loopback(uri):
        return
    if parts.scheme in DESKTOP_SCHEMES or _PRIVATE_SCHEME.fullmatch(parts.scheme):
        return
    raise _refused(uri, "must be https, http on 127.0.0.1, [::1] or localhost, or a program's own scheme")


def is_loopback(uri: str) -> bool:
    """Whether a program on the user's machine listens there; which one nobody can tell."""
    parts = _split(uri)
    return parts is not None and parts.scheme == "http" and (parts.hostname or "") in LOOPBACK


def proves_client(uri: str) -> bool:
    """Whether a code sent there can only reach its owner: not what any program of the user's machine can claim."""
    parts = _split(uri)
    return parts is not None and parts.scheme == "https" and (parts.hostname or "") not in LOOPBACK


def is_registered(uri: str, registered: Iterable[str]) -> bool:
    """Whether `uri` is one of the registered ones, character by character; on loopback with any port (RFC 8252 §7.3)."""
    known = tuple(registered)
    if uri in known:
        return True
    return is_loopback(uri) and any(is_loopback(one) and _but_port(one) == _but_port(uri) for one in known)


def place_of(uri: str) -> str:
    """Where a redirect leads, for a person to read: the host, or the scheme of a program."""
    parts = urlsplit(uri)
    return parts.netloc if parts.scheme in ("https", "http") else f"{parts.scheme}:"


def with_parameters(uri: str, parameters: Mapping[str, str | None]) -> str:
    """The address with further query parameters; those that are None are left out. Its own query stays."""
    added = urlencode({name: value for name, value in parameters.items() if value is not None})
    return f"{uri}{'&' if '?' in uri else '?'}{added}"


def single_parameters(encoded: str, *, max_fields: int = 50) -> dict[str, str]:
    """Parameters of a query or form. Raises `OAuthRefusal` for one that comes twice (RFC 6749 §3.1); empty ones are left out."""
    try:
        pairs = parse_qsl(encoded, keep_blank_values=True, max_num_fields=max_fields, errors="strict")
    except (ValueError, UnicodeError):
        raise OAuthRefusal("invalid_request", "the parameters cannot be read") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            error = "invalid_target" if name == "resource" else "invalid_request"
            raise OAuthRefusal(error, f"the parameter {name[:40]} comes twice")
        if "\x00" in value or "\x00" in name:
            raise OAuthRefusal("invalid_request", "a parameter holds a NUL character")
        found[name] = value
    return {name: value for name, value in found.items() if value}


def _but_port(uri: str) -> tuple[str, str | None, str, str]:
    parts = urlsplit(uri)
    return parts.scheme, parts.hostname, parts.path, parts.query


def _split(uri: str) -> SplitResult | None:
    if len(uri) > MAX_CHARS or not _PRINTABLE.fullmatch(uri):
        return None
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.scheme and (parts.netloc or parts.path) else None


def _refused(uri: str, why: str) -> OAuthRefusal:
    return OAuthRefusal("invalid_redirect_uri", f"the redirect address {uri[:200]!r} {why}")
