"""GitLab's webhooks: https://docs.gitlab.com/user/project/integrations/webhooks/

GitLab proves itself in one of two ways. A **secret token** comes as it is in `X-Gitlab-Token`: it covers neither the body nor any id.
A **signing token** (https://gitlab.com/gitlab-org/gitlab/-/merge_requests/230944) signs id, time and body as Standard Webhooks do. So a
signed delivery is told by its `webhook-id`, and one with a token by the body's digest. Who holds a hook's token could forge anything, so
a delivery that carries both is no weaker for being told by its id.

The body names its own event, so `X-Gitlab-Event`, which is not signed, decides nothing: it may only agree.
"""

from collections.abc import Callable, Mapping
from typing import Any

from devops_mcp.adapters.base import Delivery, Origin, WebhookSource
from devops_mcp.adapters.code_hosts import Payload, delivery_id, named
from devops_mcp.adapters.deliveries import json_object
from devops_mcp.adapters.gitlab.webhooks import builds, changes, others
from devops_mcp.adapters.signatures import AnyOf, HmacSha256, SharedToken, plain_key, standard_webhooks_key
from devops_mcp.events.model import Event
from devops_mcp.models.errors import InvalidInput

SYSTEM = "gitlab"
MAX_BODY_BYTES = 25 * 1_048_576
"""GitLab's own limit: it sends nothing larger."""


def signing_keys(token: str) -> tuple[bytes, ...]:
    """Both ways to read a signing token: decoded, as Standard Webhooks say, and as it is; GitLab does not say which it uses."""
    return (*standard_webhooks_key(token), *plain_key(token))


SIGNATURE = HmacSha256(
    "webhook-signature",
    encoding="base64",
    prefix="v1,",
    text="{id}.{ts}.{body}",
    timestamp_header="webhook-timestamp",
    id_header="webhook-id",
    separator=" ",
    keys=signing_keys,
)
TOKEN = SharedToken("X-Gitlab-Token")

_TRANSLATIONS: Mapping[str, Callable[[Payload], Event]] = {
    "access_token": others.access_token,
    "build": builds.job,
    "deployment": builds.deployment,
    "issue": changes.issue,
    "merge_request": changes.merge_request,
    "note": changes.note,
    "pipeline": builds.pipeline,
    "push": changes.push,
    "release": changes.release,
    "tag_push": changes.push,
    "work_item": changes.issue,
}

_HEADERS: Mapping[str, frozenset[str]] = {
    "Push Hook": frozenset({"push"}),
    "Tag Push Hook": frozenset({"tag_push"}),
    "Issue Hook": frozenset({"issue", "work_item"}),
    "Confidential Issue Hook": frozenset({"issue", "work_item"}),
    "Work Item Hook": frozenset({"issue", "work_item"}),
    "Note Hook": frozenset({"note"}),
    "Confidential Note Hook": frozenset({"note"}),
    "Merge Request Hook": frozenset({"merge_request"}),
    "Wiki Page Hook": frozenset({"wiki_page"}),
    "Pipeline Hook": frozenset({"pipeline"}),
    "Job Hook": frozenset({"build"}),
    "Deployment Hook": frozenset({"deployment"}),
    "Feature Flag Hook": frozenset({"feature_flag"}),
    "Release Hook": frozenset({"release"}),
    "Milestone Hook": frozenset({"milestone"}),
    "Emoji Hook": frozenset({"emoji"}),
    "Vulnerability Hook": frozenset({"vulnerability"}),
}
"""The kinds of body that an event may have, where GitLab says so; hooks of an instance send all of theirs as `System Hook`."""


def delivery_key(delivery: Delivery) -> str | None:
    """The id of a signed delivery. An unsigned one could be changed at will, and so is not asked for."""
    return delivery_id(delivery, "webhook-id") if "webhook-signature" in delivery.headers else None


def parse(delivery: Delivery, origin: Origin) -> tuple[Event, ...]:
    """The event in a delivery; what has no type of its own is `activity.recorded`."""
    body = json_object(delivery)
    kind = _kind(body)
    header = delivery.headers.get("x-gitlab-event", "")
    if kind not in _HEADERS.get(header, {kind}):
        raise InvalidInput(f"the body is that of a {kind!r} event, which X-Gitlab-Event {header!r} is not")
    payload = Payload(SYSTEM, kind, body, origin, delivery, _subject(body), _actor(body))
    return (_TRANSLATIONS.get(kind, others.other)(payload),)


def _kind(body: Mapping[str, Any]) -> str:
    kind = named(body, "object_kind", "event_name")
    if kind is None or len(kind) > 60 or not kind.isidentifier():
        raise InvalidInput("body.object_kind or body.event_name must name the event")
    return kind


def _subject(body: Mapping[str, Any]) -> str:
    """The project's path, else the group's."""
    paths = (
        "project.path_with_namespace",
        "path_with_namespace",
        "full_path",
        "group.full_path",
        "group_path",
    )
    return named(body, *paths, "project_name", "group_name") or SYSTEM


def _actor(body: Mapping[str, Any]) -> str | None:
    return named(body, "user.username", "user_username", "user.name", "user_name")


WEBHOOKS = WebhookSource(
    verify=AnyOf((SIGNATURE, TOKEN)).verify,
    delivery_key=delivery_key,
    parse=parse,
    signed_key=True,
    max_body_bytes=MAX_BODY_BYTES,
)
