"""Which body belongs to which event: GitHub signs the body and not `X-GitHub-Event`, so a signed body must not pass as another type.

A form names the keys that a body of the event always has, and those that would make it another event's. Keys that GitHub adds later are no
fault. The four kinds of `alert` are told apart by what is in it, when it is read. https://docs.github.com/webhooks/webhook-events-and-payloads
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from devops_mcp.models.errors import InvalidInput, Violation


@dataclass(frozen=True, slots=True)
class Form:
    """`actions`: the only values of `action`, where the keys alone do not tell the event from others."""

    needs: frozenset[str]
    never: frozenset[str] = frozenset()
    actions: frozenset[str] | None = None


def _form(needs: str, never: str = "") -> Form:
    return Form(frozenset(needs.split()), frozenset(never.split()))


_TELLING: dict[str, Form] = {
    "branch_protection_rule": _form("action rule repository"),
    "check_run": _form("check_run repository", never="deployment_status"),
    "check_suite": _form("action check_suite repository"),
    "code_scanning_alert": _form("action alert repository", never="location"),
    "commit_comment": _form("action comment repository", never="issue pull_request discussion"),
    "create": _form("ref ref_type master_branch pusher_type repository"),
    "delete": _form("ref ref_type pusher_type repository", never="master_branch"),
    "dependabot_alert": _form("action alert repository", never="commit_oid"),
    "deploy_key": _form("action key repository"),
    "deployment": _form("action deployment repository", never="deployment_status workflow_job"),
    "deployment_review": _form("action workflow_run since repository"),
    "deployment_status": _form("action deployment deployment_status repository"),
    "discussion": _form("action discussion repository", never="comment"),
    "discussion_comment": _form("action discussion comment repository"),
    "fork": _form("forkee repository"),
    "gollum": _form("pages repository"),
    "installation_repositories": _form("action repositories_added repositories_removed installation"),
    "issue_comment": _form("action issue comment repository"),
    "issues": _form("action issue repository", never="comment"),
    "label": _form("action label repository", never="issue pull_request discussion"),
    "marketplace_purchase": _form("action marketplace_purchase effective_date"),
    "member": _form("action member repository", never="team"),
    "membership": _form("action member scope team organization"),
    "merge_group": _form("action merge_group"),
    "meta": _form("action hook hook_id", never="zen"),
    "milestone": _form("action milestone repository", never="issue pull_request"),
    "org_block": _form("action blocked_user organization"),
    "package": _form("action package"),
    "page_build": _form("build id repository"),
    "ping": _form("zen hook_id", never="action"),
    "project": _form("action project"),
    "project_card": _form("action project_card"),
    "project_column": _form("action project_column"),
    "projects_v2_item": _form("action projects_v2_item"),
    "pull_request": _form("action number pull_request repository", never="review thread comment"),
    "pull_request_review": _form("action pull_request review repository"),
    "pull_request_review_comment": _form("action pull_request comment repository", never="review thread"),
    "pull_request_review_thread": _form("action pull_request thread repository"),
    "push": _form("ref before after commits repository"),
    "release": _form("action release repository"),
    "repository_dispatch": _form("action branch client_payload repository"),
    "repository_import": _form("status repository", never="action sha"),
    "repository_vulnerability_alert": _form("action alert repository", never="commit_oid"),
    "secret_scanning_alert": _form("action alert repository", never="commit_oid location"),
    "secret_scanning_scan": _form("action type source started_at completed_at"),
    "security_advisory": _form("action security_advisory"),
    "sponsorship": _form("action sponsorship"),
    "star": _form("action starred_at repository"),
    "status": _form("sha state context commit repository", never="action"),
    "team": _form("action team organization", never="member"),
    "team_add": _form("team repository", never="action"),
    "workflow_dispatch": _form("inputs ref workflow repository", never="action"),
    "workflow_job": _form("action workflow_job repository"),
    "workflow_run": _form("action workflow workflow_run repository", never="deployment"),
}

_COMMON = frozenset(
    {"action", "repository", "sender", "organization", "installation", "enterprise", "type", "source"}
)
_MARKERS = frozenset(key for form in _TELLING.values() for key in form.needs) - _COMMON


def _bare(needs: str, actions: Iterable[str] | None, never: str = "") -> Form:
    """An event with no key of its own: known by its action, and by having no other event's key."""
    return Form(
        frozenset(needs.split()), _MARKERS | frozenset(never.split()), frozenset(actions) if actions else None
    )


FORMS: Mapping[str, Form] = _TELLING | {
    "github_app_authorization": _bare("action sender", ["revoked"], never="repository"),
    "installation": _bare(
        "action installation",
        ["created", "deleted", "suspend", "unsuspend", "new_permissions_accepted"],
        never="repository",
    ),
    "organization": _bare(
        "action organization",
        ["deleted", "renamed", "member_added", "member_invited", "member_removed"],
        never="repository",
    ),
    "public": _bare("repository", None, never="action"),
    "repository": _bare(
        "action repository",
        ["created", "deleted", "archived", "unarchived", "edited", "renamed", "transferred", "publicized", "privatized"],
    ),
    "watch": _bare("action repository", ["started"]),
}  # fmt: skip


def check_form(event: str, body: Mapping[str, Any]) -> None:
    """Raise `InvalidInput` unless `body` can be one of `event`; an event that we do not know has no form."""
    form = FORMS.get(event)
    if form is None:
        return
    violations = [Violation(f"body.{key}", "is missing") for key in sorted(form.needs - body.keys())]
    violations += [
        Violation(f"body.{key}", "belongs to another event") for key in sorted(form.never & body.keys())
    ]
    if form.actions is not None and body.get("action") not in form.actions:
        violations.append(Violation("body.action", f"is not an action of {event}"))
    if violations:
        raise InvalidInput(f"the body is not that of a {event!r} event", tuple(violations))
