"""Which body belongs to which event of Gitea and of Forgejo, which came from it: they sign the body and not the event's name.

A form names the keys that a body of the event always has, those that would make it another event's unless they are null, and the only
actions where the keys alone do not tell. Bodies are those of `modules/structs/hook.go` in either's source, https://docs.gitea.com/usage/webhooks
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from devops_mcp.models.errors import InvalidInput, Violation


@dataclass(frozen=True, slots=True)
class Form:
    """`review`: how the kind of the review ends that the body must tell of; a body of another event tells of none."""

    needs: frozenset[str]
    never: frozenset[str] = frozenset()
    actions: frozenset[str] | None = None
    review: str | None = None


def _form(needs: str, never: str = "", actions: str = "", review: str | None = None) -> Form:
    return Form(
        frozenset(needs.split()),
        frozenset(never.split()),
        frozenset(actions.split()) if actions else None,
        review,
    )


_TELLING: dict[str, Form] = {
    "create": _form("sha ref ref_type repository", never="pusher_type context"),
    "delete": _form("ref ref_type pusher_type repository", never="sha"),
    "fork": _form("forkee repository"),
    "push": _form("ref before after commits repository"),
    "issues": _form("action number issue repository", never="comment pull_request"),
    "issue_comment": _form("action issue comment repository"),
    "pull_request": _form("action number pull_request repository", never="review issue"),
    "pull_request_approved": _form("action pull_request review repository", review="approved"),
    "pull_request_rejected": _form("action pull_request review repository", review="rejected"),
    "pull_request_comment": _form("action pull_request review repository", review="comment"),
    "wiki": _form("action page repository"),
    "release": _form("action release repository"),
    "package": _form("action package"),
    "status": _form("sha context state repository", never="ref_type"),
    "workflow_run": _form("action workflow_run repository", never="workflow_job"),
    "workflow_job": _form("action workflow_job repository"),
    "action_run_success": _form("action run", actions="success"),
    "action_run_failure": _form("action run", actions="failure"),
    "action_run_recover": _form("action run", actions="recover recovered"),
}
_COMMON = frozenset({"action", "repository", "number", "ref", "sha"})
_MARKERS = frozenset(key for form in _TELLING.values() for key in form.needs) - _COMMON

FORMS: Mapping[str, Form] = _TELLING | {
    "repository": Form(frozenset({"action", "repository"}), _MARKERS, frozenset({"created", "deleted"}))
}


def check_form(event: str, body: Mapping[str, Any]) -> None:
    """Raise `InvalidInput` unless `body` can be one of `event`; an event that we do not know has no form."""
    form = FORMS.get(event)
    if form is None:
        return
    violations = [Violation(f"body.{key}", "is missing") for key in sorted(form.needs - body.keys())]
    present = {key for key, value in body.items() if value is not None}
    violations += [
        Violation(f"body.{key}", "belongs to another event") for key in sorted(form.never & present)
    ]
    if form.actions is not None and str(body.get("action")) not in form.actions:
        violations.append(Violation("body.action", f"is not an action of {event}"))
    if form.review is not None and not _review_type(body).endswith(form.review):
        violations.append(Violation("body.review.type", f"is not that of {event}"))
    if violations:
        raise InvalidInput(f"the body is not that of a {event!r} event", tuple(violations))


def _review_type(body: Mapping[str, Any]) -> str:
    review = body.get("review")
    kind = review.get("type") if isinstance(review, dict) else None
    return kind if isinstance(kind, str) else ""
