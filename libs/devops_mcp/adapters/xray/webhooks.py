"""Xray's webhooks: a policy was violated by what Xray found.

A webhook of Xray's own has a user and a password (the secret is then `user:password`); one of the platform has a secret, as
Artifactory's. Nothing but its body tells a delivery from others, so it is told by that.
"""

from pydantic import AliasPath, Field

from devops_mcp.adapters.base import Delivery, Origin, WebhookSource
from devops_mcp.adapters.code_hosts import Time, shaped
from devops_mcp.adapters.deliveries import about, json_object, told
from devops_mcp.adapters.jfrog import SIGNATURE, TOKEN
from devops_mcp.adapters.shapes import FirstLine, Shape, first_line
from devops_mcp.adapters.signatures import AnyOf, SharedToken
from devops_mcp.events.model import Event, ScanFinished

SYSTEM = "xray"
BASIC = SharedToken("Authorization", prefix="Basic ", encoding="base64")
MAX_BODY_BYTES = 5 * 1_048_576
"""Xray names no limit, and a delivery lists every artifact that an issue touches."""
MAX_FINDINGS = 30
MAX_FINDING = 300


class _Artifact(Shape):
    name: FirstLine = ""
    display_name: FirstLine = ""


class _Issue(Shape):
    id: FirstLine = Field(default="", validation_alias="vulnerability_id")
    cve: FirstLine = ""
    severity: FirstLine = ""
    type: FirstLine = ""
    summary: FirstLine = ""
    artifacts: tuple[_Artifact, ...] = Field(default=(), validation_alias="impacted_artifacts")


class _Violation(Shape):
    severity: str = Field(min_length=1, max_length=100, validation_alias="top_severity")
    watch: FirstLine = Field(min_length=1, validation_alias="watch_name")
    policy: FirstLine = Field(default="", validation_alias="policy_name")
    rule: FirstLine = Field(default="", validation_alias="policy_rule")
    at: Time = Field(default=None, validation_alias="created")
    issues: tuple[_Issue, ...] = Field(max_length=10_000)
    artifact: FirstLine = Field(
        default="", validation_alias=AliasPath("issues", 0, "impacted_artifacts", 0, "display_name")
    )


def delivery_key(delivery: Delivery) -> str | None:
    """None: one alert may come once for each rule that it breaks."""
    return None


def parse(delivery: Delivery, origin: Origin) -> tuple[Event, ...]:
    """A scan that failed a policy; its subject is the watch."""
    violation = shaped("violation", _Violation, json_object(delivery))
    count = len(violation.issues)
    where = f" in {violation.artifact}" if violation.artifact else ""
    policy = f" (policy {violation.policy})" if violation.policy else ""
    scanned = ScanFinished(
        **told(
            SYSTEM,
            delivery,
            origin,
            subject=violation.watch,
            title=f"Xray found {count} violation{'' if count == 1 else 's'} of {violation.watch}, at worst "
            f"{violation.severity}{where}{policy}",
            at=violation.at,
        ),
        scanner="xray",
        status=violation.severity,
        failed=True,
        findings=tuple(_said(issue) for issue in violation.issues[:MAX_FINDINGS]),
    )
    return (scanned,)


def _said(issue: _Issue) -> str:
    """`CVE-2021-28168 (Medium security) in org.apache.pinot:pinot: temporary files`."""
    name = issue.cve or issue.id or "issue"
    kind = " ".join(word for word in (issue.severity, issue.type) if word)
    artifacts = [artifact.display_name or artifact.name for artifact in issue.artifacts]
    where = f" in {', '.join(artifacts[:3])}" if artifacts else ""
    more = f" and {len(artifacts) - 3} more" if len(artifacts) > 3 else ""
    return first_line(f"{name}{f' ({kind})' if kind else ''}{where}{more}{about(issue.summary)}", MAX_FINDING)


WEBHOOKS = WebhookSource(
    verify=AnyOf((SIGNATURE, TOKEN, BASIC)).verify,
    delivery_key=delivery_key,
    parse=parse,
    max_body_bytes=MAX_BODY_BYTES,
)
