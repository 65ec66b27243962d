"""Times, durations and steps as Prometheus and people write them."""

import math
import re
from datetime import UTC, datetime

from devops_mcp.models.errors import InvalidInput

YEAR_S = 365 * 86_400.0
MAX_TIME = 1e11
"""In the year 5138. What is above it is a unix time in milliseconds."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0, "y": YEAR_S}
_DURATION = re.compile(r"(?:\d{1,12}(?:\.\d{1,9})?(?:ms|[smhdwy]))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdwy])")
_RELATIVE = re.compile(r"(?:now)?\s*([+-])\s*(\S+)")
_STEPS = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400,
)  # fmt: skip


def parse_time(text: str, now: datetime) -> float:
    """Unix seconds of an RFC 3339 time with its zone, unix seconds, `now`, or a distance from it such as `-1h`, `now-30m`.

    Raises `InvalidInput` for anything else.
    """
    text = text.strip()
    if text == "now":
        return now.timestamp()
    if (relative := _RELATIVE.fullmatch(text)) and _DURATION.fullmatch(relative[2]):
        distance = parse_duration(relative[2])
        return _checked(text, now.timestamp() + (distance if relative[1] == "+" else -distance))
    number = _number(text)
    return _checked(text, _timestamp(text) if number is None else number)


def parse_duration(text: str) -> float:
    """Seconds of a duration such as `30s`, `1h30m` or, bare, `15`; above 0 and below 100 years."""
    seconds = _number(text)
    if seconds is None and _DURATION.fullmatch(text.strip()):
        seconds = sum(float(count) * _UNITS[unit] for count, unit in _PART.findall(text))
    if seconds is None or not 0 < seconds < 100 * YEAR_S:
        raise InvalidInput(f"{text!r} is not a duration; write it as 30s, 5m, 1h30m or as seconds")
    return seconds


def choose_step(span_s: float, max_points: int) -> float:
    """The smallest round step (1, 2, 5, 10, 15, 30 s, … whole days) with which `span_s` takes at most `max_points` points."""
    needed = span_s / max(1, max_points - 1)
    for step in _STEPS:
        if step >= needed:
            return float(step)
    return math.ceil(needed / 86_400) * 86_400.0


def rfc3339(seconds: float) -> str:
    """`2026-11-20T10:00:00Z`, with milliseconds where there are any."""
    moment = datetime.fromtimestamp(round(seconds, 3), UTC)
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds").replace(
        "+00:00", "Z"
    )


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _timestamp(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            f"{text!r} is not a time; write 2026-11-20T10:00:00Z, unix seconds, now, or a distance such as -1h"
        ) from None
    if moment.tzinfo is None:
        raise InvalidInput(f"{text!r} has no time zone; add Z or an offset")
    return moment.timestamp()


def _checked(text: str, seconds: float) -> float:
    if seconds < 0:
        hint = "; a distance needs a unit, such as -5m" if text.startswith("-") else ""
        raise InvalidInput(f"{text!r} is before 1970{hint}")
    if seconds > MAX_TIME:
        raise InvalidInput(f"{text!r} is too far ahead; write unix time in seconds, not milliseconds")
    return seconds
