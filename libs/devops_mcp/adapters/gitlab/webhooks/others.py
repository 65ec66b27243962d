"""Events without a type of their own: wiki pages, milestones, emoji, members, groups, and what GitLab will add."""

from devops_mcp.adapters.code_hosts import Payload, activity, named
from devops_mcp.events.model import Event


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
        action=named(body, "object_attributes.action", "action", "object_attributes.state"),
        details=[title],
        url=named(body, "object_attributes.url", "object_attributes.awarded_on_url", "project.web_url"),
    )
