"""SonarQube's webhooks: an analysis ended, or a change of issues changed the quality gate.

Signed over the raw body with HMAC-SHA256 in `X-Sonar-Webhook-HMAC-SHA256`, bare hex. What tells a delivery, the id of the analysis's
task, is in the body and so signed; a change of the gate has none, and is told by its body.
"""

from pydantic import AliasPath, Field

from devops_mcp.adapters.base import Delivery, Origin, WebhookSource
from devops_mcp.adapters.code_hosts import Time
from devops_mcp.adapters.deliveries import json_object, told
from devops_mcp.adapters.shapes import FirstLine, Shape, read
from devops_mcp.adapters.signatures import HmacSha256
from devops_mcp.events.model import Event, ScanFinished
from devops_mcp.models.errors import InvalidInput, UpstreamInvalid

SYSTEM = "sonarqube"
SIGNATURE = HmacSha256("X-Sonar-Webhook-HMAC-SHA256")
MAX_FINDINGS = 30


class _Condition(Shape):
    metric: FirstLine
    status: str
    value: FirstLine = ""
    threshold: FirstLine = Field(default="", validation_alias="errorThreshold")


class _Analysis(Shape):
    task: str | None = Field(default=None, max_length=100, validation_alias="taskId")
    status: str
    at: Time = Field(default=None, validation_alias="analysedAt")
    key: str = Field(min_length=1, validation_alias=AliasPath("project", "key"))
    name: FirstLine = Field(default="", validation_alias=AliasPath("project", "name"))
    project_url: str | None = Field(default=None, validation_alias=AliasPath("project", "url"))
    branch: FirstLine = Field(default="", validation_alias=AliasPath("branch", "name"))
    branch_url: str | None = Field(default=None, validation_alias=AliasPath("branch", "url"))
    gate: str | None = Field(default=None, validation_alias=AliasPath("qualityGate", "status"))
    conditions: tuple[_Condition, ...] = Field(
        default=(), max_length=1_000, validation_alias=AliasPath("qualityGate", "conditions")
    )


def delivery_key(delivery: Delivery) -> str | None:
    """The task of the analysis; the gate may change later without one."""
    try:
        return _read(delivery).task
    except InvalidInput:
        return None


def parse(delivery: Delivery, origin: Origin) -> tuple[Event, ...]:
    """A scan that finished: it failed when the analysis did, or when the gate is red."""
    analysis = _read(delivery)
    failed = analysis.status not in ("SUCCESS", "OK") or analysis.gate == "ERROR"
    gate = f"quality gate {analysis.gate}" if analysis.gate else f"analysis {analysis.status}"
    where = f" on {analysis.branch}" if analysis.branch else ""
    scanned = ScanFinished(
        **told(
            SYSTEM,
            delivery,
            origin,
            subject=analysis.key,
            title=f"SonarQube analysed {analysis.name or analysis.key}{where}: {gate}",
            url=analysis.branch_url or analysis.project_url,
            at=analysis.at,
        ),
        scanner="sonarqube",
        status=analysis.gate or analysis.status,
        failed=failed,
        findings=tuple(_said(c) for c in analysis.conditions if c.status == "ERROR")[:MAX_FINDINGS],
    )
    return (scanned,)


def _read(delivery: Delivery) -> _Analysis:
    try:
        return read(_Analysis, json_object(delivery))
    except UpstreamInvalid as error:
        raise InvalidInput(f"the body is not that of an analysis: {error}") from None


def _said(condition: _Condition) -> str:
    value = f" is {condition.value}" if condition.value else " fails"
    return f"{condition.metric}{value}" + (f" (limit {condition.threshold})" if condition.threshold else "")


WEBHOOKS = WebhookSource(verify=SIGNATURE.verify, delivery_key=delivery_key, parse=parse, signed_key=True)
