"""Security alerts that began or ended, and scans."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from devops_mcp.adapters.deliveries import about, text
from devops_mcp.adapters.github.webhooks import payloads
from devops_mcp.adapters.github.webhooks.activity import activity
from devops_mcp.adapters.github.webhooks.common import Payload
from devops_mcp.events.model import AlertEvent, Event, ScanFinished

_FIRED = frozenset(
    {
        "created",
        "reopened",
        "reopened_by_user",
        "appeared_in_branch",
        "auto_reopened",
        "reintroduced",
        "create",
        "reopen",
        "publicly_leaked",
    }
)
_RESOLVED = frozenset(
    {"fixed", "closed_by_user", "dismissed", "auto_dismissed", "resolved", "dismiss", "resolve"}
)


def code_scanning_alert(payload: Payload) -> Event:
    alert = payload.part("alert", payloads.CodeScanningAlert)
    return _alert(
        payload,
        f"{alert.tool or 'Code scanning'} alert #{alert.number}",
        f"{alert.title or alert.rule}{f' in {alert.path}' if alert.path else ''}",
        name=alert.rule or "code scanning",
        severity=alert.security_severity or alert.severity,
        key=f"code-scanning/{alert.number}",
        url=alert.url,
        at=alert.updated_at or alert.created_at,
        labels={"tool": alert.tool, "rule": alert.rule, "path": alert.path},
        description="" if alert.description == alert.title else alert.description,
    )


def dependabot_alert(payload: Payload) -> Event:
    alert = payload.part("alert", payloads.DependabotAlert)
    return _alert(
        payload,
        f"Dependabot alert #{alert.number} ({alert.severity})",
        f"{alert.package}: {alert.title}" if alert.package else alert.title,
        name=alert.advisory,
        severity=alert.severity,
        key=f"dependabot/{alert.number}",
        url=alert.url,
        at=alert.updated_at or alert.created_at,
        labels={
            "package": alert.package,
            "manifest": alert.manifest,
            "advisory": alert.advisory,
            "cve": alert.cve,
        },
        description=alert.description,
    )


def secret_scanning_alert(payload: Payload) -> Event:
    alert = payload.part("alert", payloads.SecretScanningAlert)
    return _alert(
        payload,
        f"Secret scanning alert #{alert.number}",
        alert.title or alert.secret_type,
        name=alert.secret_type,
        severity="critical",
        key=f"secret-scanning/{alert.number}",
        url=alert.url,
        at=alert.updated_at or alert.created_at,
        labels={"secret_type": alert.secret_type, "resolution": alert.resolution},
    )


def repository_vulnerability_alert(payload: Payload) -> Event:
    """Dependabot's alerts as older servers tell them."""
    alert = payload.part("alert", payloads.VulnerabilityAlert)
    return _alert(
        payload,
        f"Vulnerability alert ({alert.severity})",
        f"{alert.package} {alert.affected}",
        name=alert.advisory or alert.package,
        severity=alert.severity,
        key=f"vulnerability/{alert.id}",
        url=None,
        at=alert.created_at if payload.action == "create" else None,
        labels={"package": alert.package, "advisory": alert.advisory},
    )


def _alert(
    payload: Payload,
    what: str,
    summary: str,
    *,
    name: str,
    severity: str | None,
    key: str,
    url: str | None,
    at: datetime | None,
    labels: Mapping[str, str | None],
    description: str = "",
) -> Event:
    kind = _kind(payload.action)
    if kind is None:
        return activity(payload)
    happened = (payload.action or "").replace("_", " ")
    return AlertEvent(
        **payload.told(f"{what} {happened} in {payload.subject}{about(summary)}", url, at),
        type=kind,
        name=name,
        severity=severity,
        fingerprint=f"{payload.subject}/{key}",
        labels={label: value for label, value in labels.items() if value},
        summary=text(f"{summary}\n{description}".strip()),
    )


def _kind(action: str | None) -> Literal["alert.fired", "alert.resolved"] | None:
    if action in _FIRED:
        return "alert.fired"
    return "alert.resolved" if action in _RESOLVED else None


def secret_scanning_scan(payload: Payload) -> Event:
    scan = payload.whole(payloads.SecretScan)
    title = f"Secret scan ({scan.type}) of {scan.source} completed in {payload.subject}"
    return ScanFinished(
        **payload.told(title, None, scan.completed_at), scanner="github secret scanning", status="completed"
    )
