"""GitHub's rate limits: read from every answer, and kept to before a request is sent.

Primary limits are counted per resource (`core`, `search`, `code_search`), secondary ones are told by a message and `Retry-After`. Who
goes on sending against them can be banned. https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

from datetime import UTC, datetime, timedelta

from devops_mcp.adapters.upstream import Reply, retry_after_s
from devops_mcp.models.base import Clock
from devops_mcp.models.errors import UpstreamRateLimited

SECONDARY_WAIT = timedelta(minutes=1)
"""What GitHub asks for when it says no time."""


class RateLimits:
    """When each resource may be used again."""

    def __init__(self, now: Clock) -> None:
        self._now = now
        self._until: dict[str, datetime] = {}

    def check(self, path: str) -> None:
        """Raise `UpstreamRateLimited` while the resource behind `path` is exhausted, without asking GitHub."""
        for resource in (resource_of(path), "all"):
            wait_s = (
                self._until.get(resource, datetime.min.replace(tzinfo=UTC)) - self._now()
            ).total_seconds()
            if wait_s > 0:
                raise UpstreamRateLimited(
                    f"github's limit for {_named(resource)} is used up for another {wait_s:.0f} s",
                    retry_after_s=wait_s,
                )

    def note(self, path: str, reply: Reply) -> None:
        """Remember what `reply` says about the limit it counted against."""
        if reply.headers.get("x-ratelimit-remaining") == "0" and (reset := _reset(reply)) is not None:
            self._until[reply.headers.get("x-ratelimit-resource", resource_of(path))] = reset

    def refusal(self, reply: Reply, message: str) -> UpstreamRateLimited | None:
        """The error if `reply` is a refusal for its rate, whichever of the three ways GitHub says it."""
        if reply.status not in (403, 429):
            return None
        told_s, reset = retry_after_s(reply), _reset(reply)
        secondary = told_s is not None or "secondary rate limit" in message or "abuse detection" in message
        if not secondary and reply.status == 403 and reply.headers.get("x-ratelimit-remaining") != "0":
            return None
        until = self._now() + SECONDARY_WAIT
        if told_s is not None:
            until = self._now() + timedelta(seconds=told_s)
        elif reset is not None and not secondary:
            until = reset
        self._until["all" if secondary else reply.headers.get("x-ratelimit-resource", "core")] = until
        wait_s = max(1.0, (until - self._now()).total_seconds())
        kind = "secondary rate limit" if secondary else "rate limit"
        return UpstreamRateLimited(
            f"github answered {reply.status}: {kind} reached; wait {wait_s:.0f} s: {message}",
            retry_after_s=wait_s,
        )


def resource_of(path: str) -> str:
    """Which limit a request to `path` counts against."""
    if path.startswith("/search/code"):
        return "code_search"
    if path.startswith("/search/"):
        return "search"
    # Asking for the limits is free.
    return "rate_limit" if path == "/rate_limit" else "core"


def _named(resource: str) -> str:
    return "all requests" if resource == "all" else resource.replace("_", " ")


def _reset(reply: Reply) -> datetime | None:
    value = reply.headers.get("x-ratelimit-reset", "")
    return datetime.fromtimestamp(int(value), UTC) if value.isdigit() and len(value) < 12 else None
