"""Answers made smaller: zstd or gzip, whichever the caller likes better (RFC 9110 §12.5.3).

Only what is whole, large enough and text is encoded, and nothing that shows a secret: its length would tell of it (BREACH).
"""

import asyncio
import gzip
import sys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIN_BYTES = 1_024
"""Below it the answer fits into a packet or two either way."""
_LARGE = 131_072
_LEVEL_GZIP = 4
_LEVEL_ZSTD = 3
_OURS = ("zstd", "gzip")
"""What we like better first, where the caller likes them the same."""


def negotiated(accept_encoding: str, size: int) -> str | None:
    """How to encode so many bytes; None: not at all."""
    if size < MIN_BYTES or not accept_encoding:
        return None
    liked = _likings(accept_encoding)
    best = max(_OURS, key=lambda coding: _liking(liked, coding))
    return best if _liking(liked, best) > max(liked.get("identity", 0.0), 0.0) else None


async def encoded(coding: str, body: bytes) -> bytes:
    """The body in a coding that was negotiated; a large one is made small beside the event loop."""
    if len(body) < _LARGE:
        return _compressed(coding, body)
    return await asyncio.to_thread(_compressed, coding, body)


def _compressed(coding: str, body: bytes) -> bytes:
    if coding == "zstd":
        return zstd.compress(body, _LEVEL_ZSTD)
    return gzip.compress(body, _LEVEL_GZIP, mtime=0)


def _liking(liked: dict[str, float], coding: str) -> float:
    return liked.get(coding, liked.get("*", 0.0))


def _likings(accept_encoding: str) -> dict[str, float]:
    """The weight of each coding that is named; 0: never."""
    liked: dict[str, float] = {}
    for part in accept_encoding.lower().split(","):
        coding, _, parameter = part.partition(";")
        name, _, weight = parameter.strip().partition("=")
        try:
            liked[coding.strip()] = float(weight) if name.strip() == "q" else 1.0
        except ValueError:
            continue
    return liked
