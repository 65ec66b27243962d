"""GitHub's `Link` headers as opaque cursors.

Only the parameters that say where a page begins go into a cursor, never an address: a caller who invents one can only turn pages.
"""

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from urllib.parse import parse_qsl, urlencode, urlsplit

from devops_mcp.models.errors import InvalidInput

_PAGING = frozenset({"page", "after", "before", "offset"})
_NEXT = re.compile(r'<([^<>]{1,2000})>\s*;[^,<]*\brel="next"')
_VALUE = re.compile(r"[A-Za-z0-9_=:.+/%-]{1,300}")


def next_cursor(link: str | None) -> str | None:
    """The cursor for the page that `link` calls next; None on the last one."""
    found = _NEXT.search(link or "")
    if found is None:
        return None
    query = parse_qsl(urlsplit(found[1]).query)
    paging = [(name, value) for name, value in query if name in _PAGING]
    return encode_cursor(dict(paging)) if paging else None


def encode_cursor(paging: dict[str, str]) -> str:
    return urlsafe_b64encode(urlencode(paging).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> dict[str, str]:
    """The parameters of that page; none for the first. Raises `InvalidInput` for a cursor that we did not make."""
    if cursor is None:
        return {}
    try:
        query = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        raise InvalidInput("the cursor is not one of ours; take next_cursor of the page before") from None
    paging = dict(parse_qsl(query))
    if not paging or not paging.keys() <= _PAGING or not all(_VALUE.fullmatch(v) for v in paging.values()):
        raise InvalidInput("the cursor is not one of ours; take next_cursor of the page before")
    return paging
