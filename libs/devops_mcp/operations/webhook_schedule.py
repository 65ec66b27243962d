"""When a delivery that failed is tried again, and when it is given up: rules, without a clock or a database of their own."""

from collections.abc import Callable
from datetime import datetime, timedelta

DELAYS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=4),
    timedelta(hours=7),
    timedelta(hours=10),
)
"""After the first attempt, the second …: eight attempts within a day."""
JITTER = 0.2
MAX_ASKED = timedelta(hours=1)
"""The longest wait that a receiver gets by asking for it."""
DISABLED_AFTER = timedelta(hours=24)
"""Of nothing but failures."""
HELD_FROM = 5
"""Failures in a row, of whatever deliveries, after which an endpoint is left alone between attempts."""
_FIRST_HOLD = timedelta(seconds=10)
_MAX_HOLD = timedelta(minutes=5)
_GONE = 410
_MAY_ASK = (429, 503)


def delay_after(attempts: int, random: Callable[[], float]) -> timedelta | None:
    """The wait after that many attempts, a fifth more or less; None: it was the last. `random` gives numbers in [0, 1)."""
    if attempts > len(DELAYS):
        return None
    return DELAYS[attempts - 1] * (1 - JITTER + 2 * JITTER * random())


def asked_for(status: int | None, retry_after_s: float | None) -> timedelta | None:
    """How long the receiver wants to be left alone, within bounds."""
    if status not in _MAY_ASK or not retry_after_s:
        return None
    return min(timedelta(seconds=retry_after_s), MAX_ASKED)


def hold_after(failures: int) -> timedelta | None:
    """How long an endpoint is left alone after that many failures in a row."""
    if failures < HELD_FROM:
        return None
    doublings = min(failures - HELD_FROM, 10)
    return min(_FIRST_HOLD * (1 << doublings), _MAX_HOLD)


def reason_to_disable(status: int | None, failing_since: datetime, now: datetime) -> str | None:
    """Why nothing more should be sent to an endpoint that has failed once more; None: go on."""
    if status == _GONE:
        return "the receiver answered 410 Gone"
    if now - failing_since >= DISABLED_AFTER:
        return f"nothing got through since {failing_since:%Y-%m-%d %H:%M} UTC"
    return None
