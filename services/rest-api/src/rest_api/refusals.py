"""Which errors an endpoint answers: their statuses, and the codes that come with each."""

from devops_mcp.serving.problems import CODE_BY_STATUS, STATUS_BY_CODE
from rest_api.endpoint import AnyEndpoint, NoBody

_ALWAYS = (400, 401, 403, 413, 414, 422, 429, 431, 503, 504)
_NEVER = frozenset({"internal", "configuration", "poison_message"})
"""What nobody foresaw, and what only the worker meets."""
_OF_SYSTEMS = frozenset(code for code in STATUS_BY_CODE if code.startswith("upstream")) | {
    "address_refused",
    "bulkhead_full",
    "circuit_open",
    "outcome_unknown",
    "personal_credential_missing",
    "unanswerable",
}
_OF_KEYS = frozenset({"idempotency_key_reused", "request_in_progress"})


def codes_by_status(endpoint: AnyEndpoint) -> dict[int, tuple[str, ...]]:
    """The codes of each status that is an error, in order."""
    absent = _absent(endpoint)
    return {
        status: _codes_of(status, absent) or (CODE_BY_STATUS[status],)
        for status in sorted(_statuses(endpoint))
    }


def _codes_of(status: int, absent: set[str]) -> tuple[str, ...]:
    return tuple(code for code, its in STATUS_BY_CODE.items() if its == status and code not in absent)


def _statuses(endpoint: AnyEndpoint) -> set[int]:
    unread = () if endpoint.body is NoBody else (415,)
    marked = (409,) if endpoint.takes_key else ()
    versioned = () if endpoint.lock is None else (404, 409)
    conditional = (412,) if endpoint.conditional else ()
    return {*_ALWAYS, *unread, *marked, *versioned, *conditional, *endpoint.errors}


def _absent(endpoint: AnyEndpoint) -> set[str]:
    absent = set(_NEVER)
    if not _calls_systems(endpoint):
        absent |= _OF_SYSTEMS
    if not endpoint.takes_key:
        absent |= _OF_KEYS
    if not endpoint.pages:
        absent.add("invalid_cursor")
    if endpoint.open or 429 not in endpoint.errors:
        absent.add("quota_exceeded")
    if endpoint.lock is None and 409 not in endpoint.errors:
        absent.add("conflict")
    return absent - set(endpoint.codes)


def _calls_systems(endpoint: AnyEndpoint) -> bool:
    return 502 in endpoint.errors
