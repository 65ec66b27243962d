"""Security alerts: https://docs.github.com/rest/code-scanning, /rest/dependabot/alerts and /rest/secret-scanning

A leaked secret is never returned: GitHub is asked to hide it, and no shape here has a field for it.
"""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from devops_mcp.adapters.base import ListParams, Tool, ToolResult
from devops_mcp.adapters.github.client import GitHub
from devops_mcp.adapters.github.tools.common import Number, RepoArgument
from devops_mcp.adapters.shapes import FirstLine, Shape, excerpt, read
from devops_mcp.models.errors import InvalidInput

Kind = Literal["code_scanning", "dependabot", "secret_scanning"]
Severity = Literal["critical", "high", "medium", "low"]

_PATHS: dict[str, str] = {
    "code_scanning": "code-scanning",
    "dependabot": "dependabot",
    "secret_scanning": "secret-scanning",
}
_STATES: dict[str, frozenset[str]] = {
    "code_scanning": frozenset({"open", "closed", "dismissed", "fixed"}),
    "dependabot": frozenset({"open", "auto_dismissed", "dismissed", "fixed"}),
    "secret_scanning": frozenset({"open", "resolved"}),
}


class SecurityReadParams(RepoArgument, ListParams):
    kind: Kind = Field(description="Which alerts; dependabot: vulnerable dependencies.")
    number: Number | None = Field(default=None, description="One alert; without it they are listed.")
    state: Literal["open", "closed", "dismissed", "auto_dismissed", "fixed", "resolved"] = Field(
        default="open", description="secret_scanning: open, resolved; dependabot: not closed."
    )
    severity: Severity | None = Field(default=None, description="Not for secret_scanning.")


class Alert(Shape):
    """A finding. `where` is `path:line`, or a package and the file that asks for it; a secret's own value is never here."""

    number: int
    state: str
    title: FirstLine
    severity: str | None = None
    rule: str | None = None
    where: str | None = None
    fixed_in: str | None = None
    identifiers: tuple[str, ...] = ()
    resolution: str | None = None
    detail: str = ""
    created_at: datetime | None = None
    url: str | None = None


class SecurityRead(ToolResult):
    """`alert` when a number was given, else `alerts`, newest first."""

    alerts: list[Alert] | None = None
    alert: Alert | None = None
    next_cursor: str | None = None


async def read_security(github: GitHub, params: SecurityReadParams) -> SecurityRead:
    """Read a repository's security alerts: code scanning, vulnerable dependencies (dependabot), leaked secrets (never their values)."""
    hide = {"hide_secret": "true"} if params.kind == "secret_scanning" else {}
    base = github.repo(params.repo, _PATHS[params.kind], "alerts")
    if params.number is not None:
        raw = await github.json(f"{base}/{params.number}", hide)
        return SecurityRead(alert=_alert(params.kind, raw, whole=True))
    page = await github.page(
        base, limit=params.limit, cursor=params.cursor, params={**_filters(params), **hide}
    )
    alerts = [_alert(params.kind, raw, whole=False) for raw in page.items]
    # Older servers ignore the filter by severity for code scanning.
    wanted = [alert for alert in alerts if params.severity in (None, alert.severity)]
    return SecurityRead(alerts=wanted, next_cursor=page.next_cursor)


def _filters(params: SecurityReadParams) -> dict[str, str | None]:
    if params.state not in _STATES[params.kind]:
        known = ", ".join(sorted(_STATES[params.kind]))
        raise InvalidInput(f"argument 'state': {params.kind} alerts are {known}, not {params.state}")
    if params.severity is not None and params.kind == "secret_scanning":
        raise InvalidInput("argument 'severity': secret_scanning alerts have none")
    return {"state": params.state, "severity": params.severity}


def _alert(kind: Kind, raw: Any, *, whole: bool) -> Alert:
    content = raw if isinstance(raw, dict) else {}
    translate = {
        "code_scanning": _code_scanning,
        "dependabot": _dependabot,
        "secret_scanning": _secret_scanning,
    }
    common = {name: content.get(name) for name in ("number", "state", "created_at")}
    alert = read(Alert, common | {"url": content.get("html_url")} | translate[kind](content))
    return alert if whole else alert.model_copy(update={"detail": excerpt(alert.detail)})


def _code_scanning(raw: dict[str, Any]) -> dict[str, Any]:
    rule = _dict(raw, "rule")
    instance = _dict(raw, "most_recent_instance")
    location = _dict(instance, "location")
    return {
        "title": rule.get("description") or rule.get("name") or rule.get("id") or "",
        "severity": rule.get("security_severity_level") or rule.get("severity"),
        "rule": rule.get("id"),
        "where": f"{location['path']}:{location.get('start_line')}" if location.get("path") else None,
        "identifiers": tuple(rule.get("tags") or ()),
        "resolution": raw.get("dismissed_reason"),
        "detail": _dict(instance, "message").get("text") or "",
    }


def _dependabot(raw: dict[str, Any]) -> dict[str, Any]:
    advisory, vulnerability = _dict(raw, "security_advisory"), _dict(raw, "security_vulnerability")
    dependency = _dict(raw, "dependency")
    package = _dict(dependency, "package")
    return {
        "title": advisory.get("summary") or "",
        "severity": vulnerability.get("severity"),
        "rule": advisory.get("ghsa_id"),
        "where": f"{package.get('ecosystem')}:{package.get('name')} in {dependency.get('manifest_path')}",
        "fixed_in": _dict(vulnerability, "first_patched_version").get("identifier"),
        "identifiers": tuple(str(i.get("value")) for i in advisory.get("identifiers") or ()),
        "resolution": raw.get("dismissed_reason"),
        "detail": advisory.get("description") or "",
    }


def _secret_scanning(raw: dict[str, Any]) -> dict[str, Any]:
    validity = raw.get("validity")
    return {
        "title": raw.get("secret_type_display_name") or raw.get("secret_type") or "",
        "rule": raw.get("secret_type"),
        "resolution": raw.get("resolution"),
        "detail": f"validity: {validity}" if validity else "",
    }


def _dict(raw: dict[str, Any], name: str) -> dict[str, Any]:
    value = raw.get(name)
    return value if isinstance(value, dict) else {}


TOOLS = (
    Tool("github_security_read", "Read security alerts", SecurityReadParams, SecurityRead, read_security),
)
