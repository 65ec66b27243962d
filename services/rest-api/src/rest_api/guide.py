"""What holds for every operation, in words: the head of the OpenAPI document, and what its tags are about."""

from collections.abc import Mapping

GUIDE = """
The platform that connects AI agents to the systems that run software.

Credentials: send an access token or an API key as `Authorization: Bearer …`, an API key also as `X-API-Key: …`; never more than one of
a kind, never two that differ (401), and never in an address. Access tokens come from `POST /api/v1/login`, from the authorization
server of this service (`/.well-known/oauth-authorization-server`), or from an identity provider that the operator trusts.

Lists come page by page: `limit` says how many at most, and `next_cursor` of an answer goes into `cursor` of the next request, with the
same filters; null means that this was the last page. `sort` names a field, with `-` before it the other way round. `fields` chooses
what is answered of each item. A parameter that is not known is refused, as is a member of a body.

Versions: answers carry an `ETag`. `If-None-Match` asks only for what has changed since (304); `If-Match` changes only what the caller
has seen (412 otherwise). `PATCH` is a JSON Merge Patch (RFC 7396), sent as `application/merge-patch+json`: null takes a member away.

Sending again: every POST with a credential takes an `Idempotency-Key` of up to 200 characters. The same request with the same key
within 24 hours is done once and answered alike, with `Idempotency-Replayed: true`; another request with that key is refused (422), and
while the first is under way both are told to wait (409 with `Retry-After`).

Errors are problem documents (RFC 9457), `application/problem+json`. `code` is stable and tells what to do; `retryable` says whether the
same request may succeed later, `Retry-After` when; `violations` name each fault of the input; `request_id` finds it in the logs.

Limits: `RateLimit` and `RateLimit-Policy` say how many more requests the caller may send. A body has at most 1 MiB, a file 25 MB. Times
are given and taken with their offset (RFC 3339), ids are UUIDs. Answers are packed with zstd or gzip where `Accept-Encoding` says so;
requests are not.
""".strip()

TAGS: Mapping[str, str] = {
    "agents": "Who works for the tenant, what it can do, and whether it lives.",
    "contexts": "Conversations that outlive their connections: items, files, windows for a model, snapshots, forks, exports.",
    "dead letters": "Messages that were given up: looked at, sent again, thrown away.",
    "embeddings": "Models that embed and write, and vectors for texts.",
    "events": "What happened in the systems, what was so as of any time, replays, and systems that are polled.",
    "integrations": "The systems of the tenant, their credentials, and those of people.",
    "rules": "Which events start what, what they did, and what they would do.",
    "search": "Questions in one's own words over contexts, events and kept results.",
    "tools": "The tools that agents have, called the same way.",
    "tasks": "Calls of tools that go on in the background.",
    "usage": "What was used, by whom and when.",
    "quotas": "How much may be used by day and month.",
    "outgoing webhooks": "Where integrators hear of events, and what was delivered there.",
    "OAuth": "What people let programs do, and these programs.",
    "me": "Who calls.",
    "sessions": "Signing in and out with a password, and the sign-ins that last.",
    "users": "The people of the tenant, and the identities that they sign in by.",
    "roles": "Sets of grants under a name, and the permissions that grants are made of.",
    "API keys": "Credentials of agents and services, shown once.",
    "tenants": "One's own tenant; for who runs the platform all of them.",
    "audit": "What was done, by whom and how it ended, as a chain that shows changes.",
    "incoming webhooks": "Where systems deliver what happened in them; the signature is the credential.",
    "health": "For who keeps the service running.",
}
"""By name, in the order in which a reader meets them."""
