"""How much and how long a client may; every figure has a test at its edge."""

from dataclasses import dataclass

KIB = 1_024
MIB = 1_024 * KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one server, per connection unless said otherwise.

    `receive_timeout_s` is for one whole request, head and body, from the opening of the connection or the first byte of a further
    request. A body that brought `progress_bytes` within it gets as long again: large uploads pass, trickles do not.
    `keep_alive_s` lies above the 60 s after which an AWS load balancer gives an idle connection up.
    """

    receive_timeout_s: float = 5.0
    progress_bytes: int = MIB
    keep_alive_s: float = 75.0
    stalled_s: float = 30.0
    """How long a client may leave what we send unread."""
    linger_s: float = 1.0
    """How long a refused client may take to read why."""
    target_bytes: int = 8 * KIB
    header_bytes: int = 16 * KIB
    headers: int = 100
    pipelined: int = 16
    connections: int = 10_000
    """Of the whole process; beyond it the connection that waits longest with nothing asked is closed for the newcomer."""
    spare_files: int = 64
    """File descriptors kept for everything that is not a client."""
    backlog: int = 128
    websocket_message_bytes: int = MIB
    websocket_message_timeout_s: float = 5.0
    websocket_fragments: int = 1_000
    websocket_ping_s: float = 20.0
    websocket_unsent_bytes: int = MIB
    """What may wait in memory for a client that sends pings and reads nothing."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How large a request's body may be: `by_prefix` of the path, longest first, else `default`."""

    default: int = MIB
    together: int = 128 * MIB
    """Of all requests at once, as a body is in memory before it is known who sent it. The first `free` of each do not count."""
    free: int = 64 * KIB
    each: int = 32 * MIB
    """What one request counts at most: a larger body is taken as it comes, and never held."""
    wait_s: float = 3.0
    """How long one waits until others have ended, before it is refused; shorter than a client may take to send."""
    by_prefix: tuple[tuple[str, int], ...] = (
        ("/webhooks/", 25 * MIB),
        ("/api/v1/attachments", 25 * MIB),
        ("/api/v1/imports", 256 * MIB),
    )

    def of(self, path: str) -> int:
        for prefix, limit in self.by_prefix:
            if path.startswith(prefix):
                return limit
        return self.default
