"""The times right before and after one, as the database tells them apart."""

from datetime import UTC, datetime, timedelta

_MOMENT = timedelta(microseconds=1)


def moment_before(at: datetime) -> datetime:
    """The last time before it; of the first there is, that itself."""
    earliest = datetime.min.replace(tzinfo=UTC)
    return max(at, earliest + _MOMENT) - _MOMENT


def moment_after(at: datetime) -> datetime:
    """The first time after it; of the last there is, that itself."""
    latest = datetime.max.replace(tzinfo=UTC)
    return min(at, latest - _MOMENT) + _MOMENT
