"""Which body belongs to which event of Bitbucket Cloud, which signs the body and not the event's key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from devops_mcp.adapters.code_hosts import named
from devops_mcp.models.errors import InvalidInput, Violation


@dataclass(frozen=True, slots=True)
class _Form:
    """The objects that a body of an event has and those that only others have; `states`: what its pull request can be in."""

    needs: frozenset[str]
    never: frozenset[str] = frozenset()
    states: frozenset[str] | None = None


def _form(needs: str, never: str = "", states: str = "") -> _Form:
    return _Form(
        frozenset(needs.split()), frozenset(never.split()), frozenset(states.split()) if states else None
    )


_MARKERS = "push fork commit_status issue pullrequest comment approval changes_request commit"
_PLAIN = "approval comment changes_request"
_OPEN = "OPEN DRAFT QUEUED"
FORMS: Mapping[str, _Form] = {
    "repo:push": _form("push repository"),
    "repo:fork": _form("fork repository"),
    "repo:updated": _form("changes repository", never=_MARKERS),
    "repo:created": _form("repository", never=f"changes {_MARKERS}"),
    "repo:deleted": _form("repository", never=f"changes {_MARKERS}"),
    "repo:imported": _form("repository", never=f"changes {_MARKERS}"),
    "repo:transfer": _form("repository previous_owner"),
    "repo:commit_comment_created": _form("comment commit repository"),
    "repo:commit_status_created": _form("commit_status repository"),
    "repo:commit_status_updated": _form("commit_status repository"),
    "issue:created": _form("issue repository", never="comment changes"),
    "issue:updated": _form("issue changes repository"),
    "issue:comment_created": _form("issue comment repository", never="changes"),
    "pullrequest:created": _form("pullrequest repository", never=_PLAIN, states=_OPEN),
    "pullrequest:updated": _form("pullrequest repository", never=_PLAIN, states=_OPEN),
    "pullrequest:push": _form("pullrequest repository", never=_PLAIN, states=_OPEN),
    "pullrequest:fulfilled": _form("pullrequest repository", never=_PLAIN, states="MERGED"),
    "pullrequest:rejected": _form("pullrequest repository", never=_PLAIN, states="DECLINED SUPERSEDED"),
    "pullrequest:approved": _form("pullrequest approval repository"),
    "pullrequest:unapproved": _form("pullrequest approval repository"),
    "pullrequest:changes_request_created": _form("pullrequest changes_request repository"),
    "pullrequest:changes_request_removed": _form("pullrequest changes_request repository"),
    "pullrequest:comment_created": _form("pullrequest comment repository"),
    "pullrequest:comment_updated": _form("pullrequest comment repository"),
    "pullrequest:comment_deleted": _form("pullrequest comment repository"),
    "pullrequest:comment_resolved": _form("pullrequest comment repository"),
    "pullrequest:comment_reopened": _form("pullrequest comment repository"),
}


def check_form(event: str, body: Mapping[str, Any]) -> None:
    """Raise `InvalidInput` unless `body` can be one of `event`; an event that we do not know has no form."""
    form = FORMS.get(event)
    if form is None:
        return
    present = {key for key, value in body.items() if value is not None}
    violations = [Violation(f"body.{key}", "is missing") for key in sorted(form.needs - present)]
    violations += [
        Violation(f"body.{key}", "belongs to another event") for key in sorted(form.never & present)
    ]
    if form.states is not None and named(body, "pullrequest.state") not in form.states:
        violations.append(Violation("body.pullrequest.state", f"is not one of {event}"))
    if violations:
        raise InvalidInput(f"the body is not that of a {event!r} event", tuple(violations))
