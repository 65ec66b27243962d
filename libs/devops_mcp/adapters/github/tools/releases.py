"""Releases and deployments: https://docs.github.com/rest/releases and https://docs.github.com/rest/deployments"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import AliasPath, Field

from devops_mcp.adapters.actions import ByAction, Takes
from devops_mcp.adapters.base import ListParams, Tool, ToolResult
from devops_mcp.adapters.github.client import GitHub
from devops_mcp.adapters.github.tools.common import Number, Ref, RepoArgument
from devops_mcp.adapters.shapes import Excerpt, Shape, Text, read, read_all

Environment = Annotated[str, Field(min_length=1, max_length=255)]


class ReleaseReadParams(ByAction, RepoArgument, ListParams):
    action: Literal["list", "latest", "get"] = Field(default="list", description="What to read.")
    tag: Ref | None = Field(default=None, description="get.")

    actions: ClassVar[Mapping[str, Takes]] = {
        "list": Takes(),
        "latest": Takes(),
        "get": Takes(needs=("tag",)),
    }


class ReleaseSummary(Shape):
    id: int
    tag: str = Field(validation_alias="tag_name")
    name: str | None = None
    draft: bool = False
    prerelease: bool = False
    by: str | None = Field(default=None, validation_alias=AliasPath("author", "login"))
    published_at: datetime | None = None
    excerpt: Excerpt = Field(default="", validation_alias="body")
    url: str | None = Field(default=None, validation_alias="html_url")


class Asset(Shape):
    name: str
    size: int
    downloads: int = Field(default=0, validation_alias="download_count")
    url: str | None = Field(default=None, validation_alias="browser_download_url")


class Release(ReleaseSummary):
    """A release in full. `target` is the branch or commit it was made from."""

    body: Text = ""
    excerpt: Excerpt = Field(default="", exclude=True)
    target: str | None = Field(default=None, validation_alias="target_commitish")
    assets: tuple[Asset, ...] = ()


class ReleaseRead(ToolResult):
    """The part that was asked for."""

    releases: list[ReleaseSummary] | None = None
    release: Release | None = None
    next_cursor: str | None = None


async def read_releases(github: GitHub, params: ReleaseReadParams) -> ReleaseRead:
    """Read releases: list them, newest first; the latest one, or one by its tag, with its notes and assets."""
    base = github.repo(params.repo, "releases")
    if params.action == "latest":
        return ReleaseRead(release=read(Release, await github.json(f"{base}/latest")))
    if params.tag is not None:
        path = github.repo(params.repo, "releases", "tags", params.tag)
        return ReleaseRead(release=read(Release, await github.json(path)))
    page = await github.page(base, limit=params.limit, cursor=params.cursor)
    return ReleaseRead(releases=read_all(ReleaseSummary, page.items), next_cursor=page.next_cursor)


class DeploymentReadParams(ByAction, RepoArgument, ListParams):
    action: Literal["list", "get", "environments"] = Field(default="list", description="What to read.")
    deployment_id: Number | None = Field(default=None, description="get.")
    environment: Environment | None = Field(default=None, description="list.")
    ref: Ref | None = Field(default=None, description="Branch or tag deployed; list.")
    sha: Ref | None = Field(default=None, description="Commit deployed; list.")

    actions: ClassVar[Mapping[str, Takes]] = {
        "list": Takes(may=("environment", "ref", "sha")),
        "get": Takes(needs=("deployment_id",)),
        "environments": Takes(),
    }


class Deployment(Shape):
    id: int
    ref: str
    sha: str
    task: str | None = None
    environment: str
    description: Excerpt = ""
    by: str | None = Field(default=None, validation_alias=AliasPath("creator", "login"))
    created_at: datetime | None = None
    updated_at: datetime | None = None


class DeploymentStatus(Shape):
    """A step of a deployment. `url` is where it was deployed to, `log_url` where its log is."""

    state: str
    description: Excerpt = ""
    by: str | None = Field(default=None, validation_alias=AliasPath("creator", "login"))
    created_at: datetime | None = None
    url: str | None = Field(default=None, validation_alias="environment_url")
    log_url: str | None = None


class DeploymentEnvironment(Shape):
    id: int
    name: str
    protection: tuple["ProtectionRule", ...] = Field(default=(), validation_alias="protection_rules")
    updated_at: datetime | None = None
    url: str | None = Field(default=None, validation_alias="html_url")


class ProtectionRule(Shape):
    type: str
    wait_minutes: int | None = Field(default=None, validation_alias="wait_timer")


class DeploymentRead(ToolResult):
    """The part that was asked for. `statuses` go with `deployment`, newest first."""

    deployments: list[Deployment] | None = None
    deployment: Deployment | None = None
    statuses: list[DeploymentStatus] | None = None
    environments: list[DeploymentEnvironment] | None = None
    next_cursor: str | None = None


async def read_deployments(github: GitHub, params: DeploymentReadParams) -> DeploymentRead:
    """Find out what was deployed where and when: list deployments, newest first; one with its statuses; or the environments."""
    if params.action == "environments":
        path = github.repo(params.repo, "environments")
        page = await github.page(path, limit=params.limit, cursor=params.cursor, items="environments")
        return DeploymentRead(
            environments=read_all(DeploymentEnvironment, page.items), next_cursor=page.next_cursor
        )
    base = github.repo(params.repo, "deployments")
    if params.deployment_id is not None:
        deployment = read(Deployment, await github.json(f"{base}/{params.deployment_id}"))
        page = await github.page(
            f"{base}/{params.deployment_id}/statuses", limit=params.limit, cursor=params.cursor
        )
        statuses = read_all(DeploymentStatus, page.items)
        return DeploymentRead(deployment=deployment, statuses=statuses, next_cursor=page.next_cursor)
    query = {"environment": params.environment, "ref": params.ref, "sha": params.sha}
    page = await github.page(base, limit=params.limit, cursor=params.cursor, params=query)
    return DeploymentRead(deployments=read_all(Deployment, page.items), next_cursor=page.next_cursor)


TOOLS = (
    Tool("github_release_read", "Read releases", ReleaseReadParams, ReleaseRead, read_releases),
    Tool(
        "github_deployment_read", "Read deployments", DeploymentReadParams, DeploymentRead, read_deployments
    ),
)
