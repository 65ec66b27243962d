"""What becomes of a message whose handler failed."""

from dataclasses import dataclass
from typing import TypeAlias

from pydantic import ValidationError

from devops_mcp.models.errors import PlatformError, Unavailable
from devops_mcp.resilience.backoff import Backoff


@dataclass(frozen=True, slots=True)
class Retry:
    """Deliver it again after `delay_s`."""

    delay_s: int
    reason: str


@dataclass(frozen=True, slots=True)
class Bury:
    """Put it among the dead letters."""

    reason: str


Disposition: TypeAlias = Retry | Bury


def dispose(error: Exception, *, attempt: int, max_attempts: int, backoff: Backoff) -> Disposition:
    """Decide about the failed `attempt`, counted from 1.

    What can never succeed is buried at once, what may succeed after `max_attempts`. An outage of one of our own parts is no fault of the
    message and buries nothing.
    """
    reason = reason_of(error)
    outage = isinstance(error, Unavailable)
    permanent = isinstance(error, ValidationError) or (
        isinstance(error, PlatformError) and not error.retryable
    )
    if permanent or (attempt >= max_attempts and not outage):
        return Bury(reason)
    asked_s = error.retry_after_s or 0.0 if isinstance(error, PlatformError) else 0.0
    return Retry(round(max(asked_s, backoff.delay_s(attempt))), reason)


def reason_of(error: Exception) -> str:
    """Why, without a secret: our own errors' messages hold none, of others only the kind is told."""
    if isinstance(error, PlatformError):
        return f"{error.code}: {error.message}"
    if isinstance(error, ValidationError):
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        where = "; ".join(f"{'.'.join(map(str, f['loc'])) or 'message'}: {f['type']}" for f in faults[:5])
        return f"not a message of ours: {where}"
    return type(error).__name__
