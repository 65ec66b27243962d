"""Artifactory's webhooks: what became of artifacts, images, builds and release bundles.

A delivery has neither an id nor, mostly, a time: it is told by its body. So the same thing done twice to the same artifact, with the same
content, counts once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from devops_mcp.adapters.base import Delivery, Origin, WebhookSource
from devops_mcp.adapters.code_hosts import named, time_in
from devops_mcp.adapters.deliveries import json_object, told
from devops_mcp.adapters.jfrog import SIGNATURE, TOKEN
from devops_mcp.adapters.shapes import first_line
from devops_mcp.adapters.signatures import AnyOf
from devops_mcp.events.model import ActivityRecorded, Event, ReleasePublished
from devops_mcp.models.errors import InvalidInput

SYSTEM = "artifactory"
MAX_WORD = 200
_PUBLISHED = frozenset(
    {
        ("docker", "pushed"),
        ("release_bundle", "created"),
        ("release_bundle_v2", "release_bundle_v2_completed"),
    }
)
"""Domain and type of what brings a new version into being; the rest happens to one that is there."""
_THINGS = (
    ("image_name", "tag", ":"),
    ("release_bundle_name", "release_bundle_version", " "),
    ("application_key", "application_version", " "),
    ("build_name", "build_number", " #"),
    ("repo_key", "path", "/"),
)
"""Where the data name a thing and its version, and what to write between them; the most telling first."""


@dataclass(frozen=True, slots=True)
class _Thing:
    name: str
    version: str
    full: str


def delivery_key(delivery: Delivery) -> str | None:
    """None: a delivery has no id."""
    return None


def parse(delivery: Delivery, origin: Origin) -> tuple[Event, ...]:
    """A new version of an image or bundle is `release.published`, anything else `activity.recorded`."""
    body = json_object(delivery)
    # Docker's events are documented without what is around the data, release bundles with `destination` for `domain`.
    data = body.get("data", body)
    action = named(body, "event_type")
    if not isinstance(data, dict) or action is None:
        raise InvalidInput("the body is not an event of Artifactory: it needs event_type and data")
    domain = named(body, "domain", "destination") or ("docker" if "image_name" in data else "artifact")
    domain, action = first_line(domain, MAX_WORD), first_line(action, MAX_WORD)
    thing = _thing(data)
    event = told(
        SYSTEM,
        delivery,
        origin,
        subject=thing.name,
        title=_title(domain, action, thing, data),
        actor=named(body, "userContext.id", "source"),
        at=time_in(data.get("created")),
    )
    if (domain, action) in _PUBLISHED and thing.version:
        return (ReleasePublished(**event, version=thing.version),)
    return (ActivityRecorded(**event, vendor_type=domain, action=action),)


def _thing(data: Mapping[str, Any]) -> _Thing:
    for name_key, version_key, between in _THINGS:
        name, version = named(data, name_key), named(data, version_key)
        if name is not None:
            return _Thing(
                name, first_line(version or "", MAX_WORD), f"{name}{between}{version}" if version else name
            )
    return _Thing(SYSTEM, "", SYSTEM)


def _title(domain: str, action: str, thing: _Thing, data: Mapping[str, Any]) -> str:
    """`Docker library/ubuntu:latest pushed, repository docker-remote`."""
    repository = named(data, "repo_key")
    where = f", repository {repository}" if repository and repository != thing.name else ""
    to = named(data, "target_repo_path", "environment", "stage")
    done = action.removeprefix(f"{domain}_").replace("_", " ")
    return f"{domain.replace('_', ' ').capitalize()} {thing.full} {done}{f' to {to}' if to else ''}{where}"


WEBHOOKS = WebhookSource(verify=AnyOf((SIGNATURE, TOKEN)).verify, delivery_key=delivery_key, parse=parse)
