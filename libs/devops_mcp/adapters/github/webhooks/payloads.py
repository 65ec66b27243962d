"""The parts of GitHub's webhook payloads that our events are made from."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AliasPath, BeforeValidator, Field

from devops_mcp.adapters.shapes import FirstLine, Shape, Text


def _time(value: Any) -> Any:
    # Some payloads carry empty strings or seconds where others carry ISO 8601.
    return value or None


Time = Annotated[datetime | None, BeforeValidator(_time)]


class Issue(Shape):
    number: int
    title: FirstLine
    state: str | None = None
    body: Text = ""
    url: str | None = Field(default=None, validation_alias="html_url")
    pull_request: dict[str, Any] | None = None
    created_at: Time = None
    updated_at: Time = None


class Comment(Shape):
    body: Text = ""
    url: str | None = Field(default=None, validation_alias="html_url")
    updated_at: Time = None


class PullRequest(Shape):
    number: int
    title: FirstLine
    state: str
    merged: bool | None = None
    merged_at: Time = None
    body: Text = ""
    branch: str = Field(validation_alias=AliasPath("head", "ref"))
    commit: str = Field(validation_alias=AliasPath("head", "sha"))
    base: str = Field(validation_alias=AliasPath("base", "ref"))
    url: str | None = Field(default=None, validation_alias="html_url")
    updated_at: Time = None


class PushedCommit(Shape):
    message: FirstLine = ""


class Push(Shape):
    ref: str
    after: str
    deleted: bool = False
    forced: bool = False
    created: bool = False
    commits: tuple[PushedCommit, ...] = ()
    head_message: FirstLine = Field(default="", validation_alias=AliasPath("head_commit", "message"))
    head_time: Time = Field(default=None, validation_alias=AliasPath("head_commit", "timestamp"))
    compare: str | None = None


class WorkflowRun(Shape):
    id: int
    name: str | None = None
    title: FirstLine = Field(default="", validation_alias="display_title")
    branch: str | None = Field(default=None, validation_alias="head_branch")
    commit: str = Field(validation_alias="head_sha")
    message: FirstLine = Field(default="", validation_alias=AliasPath("head_commit", "message"))
    attempt: int = Field(default=1, validation_alias="run_attempt")
    conclusion: str | None = None
    url: str | None = Field(default=None, validation_alias="html_url")
    actor: str | None = Field(default=None, validation_alias=AliasPath("triggering_actor", "login"))
    started_at: Time = Field(default=None, validation_alias="run_started_at")
    updated_at: Time = None


class CheckRun(Shape):
    id: int
    name: str
    commit: str = Field(validation_alias="head_sha")
    status: str
    conclusion: str | None = None
    app: str | None = Field(default=None, validation_alias=AliasPath("app", "slug"))
    app_name: str | None = Field(default=None, validation_alias=AliasPath("app", "name"))
    branch: str | None = Field(default=None, validation_alias=AliasPath("check_suite", "head_branch"))
    summary: FirstLine = Field(default="", validation_alias=AliasPath("output", "title"))
    url: str | None = Field(default=None, validation_alias="html_url")
    started_at: Time = None
    completed_at: Time = None


class Branch(Shape):
    name: str


class Status(Shape):
    id: int
    sha: str
    state: str
    context: str
    description: FirstLine = ""
    message: FirstLine = Field(default="", validation_alias=AliasPath("commit", "commit", "message"))
    target_url: str | None = None
    branches: tuple[Branch, ...] = ()
    updated_at: Time = None


class Deployment(Shape):
    id: int
    ref: str
    sha: str
    task: str = "deploy"
    environment: str
    description: FirstLine = ""
    created_at: Time = None


class DeploymentStatus(Shape):
    state: str
    description: FirstLine = ""
    target_url: str | None = None
    environment_url: str | None = None
    created_at: Time = None


class CodeScanningAlert(Shape):
    number: int
    rule: str | None = Field(validation_alias=AliasPath("rule", "id"))
    title: FirstLine = Field(default="", validation_alias=AliasPath("rule", "description"))
    description: Text = Field(default="", validation_alias=AliasPath("rule", "full_description"))
    severity: str | None = Field(default=None, validation_alias=AliasPath("rule", "severity"))
    security_severity: str | None = Field(
        default=None, validation_alias=AliasPath("rule", "security_severity_level")
    )
    tool: str | None = Field(default=None, validation_alias=AliasPath("tool", "name"))
    path: str | None = Field(
        default=None, validation_alias=AliasPath("most_recent_instance", "location", "path")
    )
    url: str | None = Field(default=None, validation_alias="html_url")
    created_at: Time = None
    updated_at: Time = None


class DependabotAlert(Shape):
    number: int
    advisory: str = Field(validation_alias=AliasPath("security_advisory", "ghsa_id"))
    title: FirstLine = Field(validation_alias=AliasPath("security_advisory", "summary"))
    description: Text = Field(default="", validation_alias=AliasPath("security_advisory", "description"))
    cve: str | None = Field(default=None, validation_alias=AliasPath("security_advisory", "cve_id"))
    severity: str | None = Field(default=None, validation_alias=AliasPath("security_advisory", "severity"))
    package: str | None = Field(default=None, validation_alias=AliasPath("dependency", "package", "name"))
    manifest: str | None = Field(default=None, validation_alias=AliasPath("dependency", "manifest_path"))
    url: str | None = Field(default=None, validation_alias="html_url")
    created_at: Time = None
    updated_at: Time = None


class SecretScanningAlert(Shape):
    """Without the secret, which is in none of our events."""

    number: int
    secret_type: str
    title: FirstLine = Field(default="", validation_alias="secret_type_display_name")
    resolution: str | None = None
    url: str | None = Field(default=None, validation_alias="html_url")
    created_at: Time = None
    updated_at: Time = None


class VulnerabilityAlert(Shape):
    id: int
    package: str = Field(validation_alias="affected_package_name")
    affected: str = Field(default="", validation_alias="affected_range")
    severity: str | None = None
    advisory: str | None = Field(default=None, validation_alias="ghsa_id")
    created_at: Time = None


class Release(Shape):
    tag: str = Field(validation_alias="tag_name")
    name: FirstLine = ""
    body: Text = ""
    prerelease: bool = False
    url: str | None = Field(default=None, validation_alias="html_url")
    published_at: Time = None


class SecretScan(Shape):
    type: str
    source: str
    completed_at: Time = None
