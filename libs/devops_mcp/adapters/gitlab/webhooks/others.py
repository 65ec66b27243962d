"""Events without a type of their own: wiki pages, milestones, emoji, members, groups, and what GitLab will add."""

from collections.abc import Mapping

from devops_mcp.adapters.code_hosts import Payload, activity, named
from devops_mcp.events.model import Event

_PHRASES: Mapping[str, str] = {
    "project_create": "project created",
    "project_destroy": "project removed",
    "subgroup_create": "subgroup created",
    "subgroup_destroy": "subgroup removed",
    "user_access_request_denied_for_group": "request for access to the group denied",
    "user_access_request_to_group": "access to the group requested by a user",
    "user_add_to_group": "user added to the group as a member",
    "user_remove_from_group": "user removed from the group",
    "user_update_for_group": "role of a member of the group changed",
}
"""What has its action in its name: https://docs.gitlab.com/user/project/integrations/webhook_events/"""


def access_token(payload: Payload) -> Event:
    """A project's or group's access token is about to expire."""
    name = named(payload.body, "object_attributes.name")
    day = named(payload.body, "object_attributes.expires_at")
    words = f"access token '{name or '?'}' expires{f' on {day}' if day else ''}"
    return activity(payload, words=words, url=named(payload.body, "project.web_url"))


def other(payload: Payload) -> Event:
    """Told by what nearly every body of GitLab has: an action, and a title or a name."""
    body = payload.body
    title = named(body, "object_attributes.title", "object_attributes.name", "name")
    return activity(
        payload,
        words=_PHRASES.get(payload.event),
        action=named(body, "object_attributes.action", "action", "object_attributes.state"),
        details=[title],
        url=named(body, "object_attributes.url", "object_attributes.awarded_on_url", "project.web_url"),
    )
