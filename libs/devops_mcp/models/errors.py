"""The whole error tree.

Raise where you know most; a library's errors are translated once, at its border. A message is lower case, without a full stop or a
secret, and says what happened, with which value, and what to do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

MAX_MESSAGE = 10_000
"""Characters: what a caller sent may be part of a message, and hosts show a model no more of one."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with one input: `where` is a dotted path such as `arguments.limit`."""

    where: str
    problem: str


class PlatformError(Exception):
    """Base of every error we raise on purpose.

    `code` is stable and part of the public interface. `retryable` says whether the same request may succeed later without a change;
    `retry_after_s` says when, if that is known. `details` is shown to the caller.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, details: Mapping[str, object] | None = None
    ) -> None:
        if len(message) > MAX_MESSAGE:
            message = f"{message[:MAX_MESSAGE]}…"
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s
        self.details: Mapping[str, object] = details or {}


class Internal(PlatformError):
    """Our own fault; what happened is in the log, not in the message."""


class ConfigurationError(PlatformError):
    """A setting is missing or wrong; the service must not start."""

    code = "configuration"


class InvalidInput(PlatformError):
    """The caller's input is wrong; `violations` name each fault."""

    code = "invalid_input"

    def __init__(self, message: str, violations: tuple[Violation, ...] = ()) -> None:
        super().__init__(
            message, details={"violations": [{"where": v.where, "problem": v.problem} for v in violations]}
        )
        self.violations = violations


class OAuthRefusal(InvalidInput):
    """The authorization server refuses a request; `error` is the word that RFC 6749, 7591, 8628 or 8707 has for it."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


class MalformedInput(PlatformError):
    """The bytes are not what they claim to be: not JSON, not UTF-8, nested too deep."""

    code = "malformed_input"


class PayloadTooLarge(PlatformError):
    code = "payload_too_large"


class UnsupportedFormat(PlatformError):
    """The body is in a format that we do not read, though it may be right."""

    code = "unsupported_format"


class Unanswerable(PlatformError):
    """The operation needs an answer from its caller, who cannot be asked over this connection."""

    code = "unanswerable"


class Unauthenticated(PlatformError):
    code = "unauthenticated"


class Refused(PlatformError):
    """Base of what a known caller is denied, of which a record is left."""

    recorded = False
    """Whether the audit log has it already."""


class Forbidden(Refused):
    code = "forbidden"


class PermissionMissing(Forbidden):
    """The caller, named `who`, lacks a permission; another credential may have it. `instead` is what this one can do."""

    def __init__(self, who: str, permission: str, *, instead: str = "") -> None:
        super().__init__(f"{who} lacks the permission {permission!r}{instead and f'; {instead}'}")
        self.permission = permission


class PersonalCredentialMissing(Forbidden):
    """The integration is called as a person only, and this one has stored no credential for it."""

    code = "personal_credential_missing"


class NotFound(PlatformError):
    """Absent, or not the caller's to see: the two are never told apart."""

    code = "not_found"


class Conflict(PlatformError):
    code = "conflict"


class AlreadyWritten(Conflict):
    """It is there: written by an earlier attempt, whose answer was lost."""


class RateLimited(PlatformError):
    code = "rate_limited"
    retryable = True
    headers: Mapping[str, str] = {}
    """How the caller stands, as HTTP says it."""


class QuotaExceeded(Refused):
    """A tenant or a principal has used what it may in a day or a month; `details` say which quota, and when it renews."""

    code = "quota_exceeded"


class DeadlineExceeded(PlatformError):
    code = "deadline_exceeded"
    retryable = True


class Unanswered(DeadlineExceeded):
    """A person was asked, and did not answer in time."""


class Unavailable(PlatformError):
    """One of our own parts (database, Redis, queue, model) cannot answer now."""

    code = "unavailable"
    retryable = True


class UpstreamError(PlatformError):
    """Base of what a DevOps system answered or failed to answer."""

    code = "upstream"


class UpstreamRejected(UpstreamError):
    """The system refused the request as it stands (most 4xx)."""

    code = "upstream_rejected"


class UpstreamUnauthorized(UpstreamError):
    """The system refused our credentials, or they lack a permission."""

    code = "upstream_unauthorized"


class UpstreamNotFound(UpstreamError):
    code = "upstream_not_found"


class UpstreamRateLimited(UpstreamError):
    code = "upstream_rate_limited"
    retryable = True


class UpstreamUnavailable(UpstreamError):
    """The system failed (5xx), could not be reached, or answered too late."""

    code = "upstream_unavailable"
    retryable = True


class UpstreamInvalid(UpstreamError):
    """The system's answer is not what its documentation says, or larger than we read."""

    code = "upstream_invalid"


class PoisonMessage(PlatformError):
    """A queue message that can never be handled; it goes to the dead-letter queue at once."""

    code = "poison_message"


class InvalidCursor(PlatformError):
    """A cursor that we did not give, or gave for another list."""

    code = "invalid_cursor"


class PreconditionFailed(PlatformError):
    """What the caller has seen of a resource is no longer how it is."""

    code = "precondition_failed"


class IdempotencyKeyReused(PlatformError):
    """The key came with another request before."""

    code = "idempotency_key_reused"


class RequestInProgress(PlatformError):
    """The request with this idempotency key is still being answered."""

    code = "request_in_progress"
    retryable = True


class OutcomeUnknown(PlatformError):
    """The call with this idempotency key broke off before it was answered; whether it took effect nobody here knows."""

    code = "outcome_unknown"
