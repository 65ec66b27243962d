"""The parts of GitLab's webhook payloads that our events are made from."""

from pydantic import AliasPath, Field

from devops_mcp.adapters.code_hosts import Time
from devops_mcp.adapters.shapes import FirstLine, Shape, Text


class PushedCommit(Shape):
    message: FirstLine = ""


class Push(Shape):
    ref: str
    before: str
    after: str
    commits: tuple[PushedCommit, ...] = ()
    count: int | None = Field(default=None, validation_alias="total_commits_count")
    message: FirstLine = ""
    """Of an annotated tag."""
    web_url: str | None = Field(default=None, validation_alias=AliasPath("project", "web_url"))


class MergeRequest(Shape):
    number: int = Field(validation_alias="iid")
    title: FirstLine
    state: str
    branch: str = Field(validation_alias="source_branch")
    base: str = Field(validation_alias="target_branch")
    commit: str = Field(validation_alias=AliasPath("last_commit", "id"))
    body: Text = Field(default="", validation_alias="description")
    url: str | None = None
    action: str | None = None
    old_commit: str | None = Field(default=None, validation_alias="oldrev")
    updated_at: Time = None


class Issue(Shape):
    number: int = Field(validation_alias="iid")
    title: FirstLine
    state: str | None = None
    type: str = "Issue"
    body: Text = Field(default="", validation_alias="description")
    url: str | None = None
    action: str | None = None
    updated_at: Time = None


class Note(Shape):
    body: Text = Field(default="", validation_alias="note")
    on: str = Field(validation_alias="noteable_type")
    action: str | None = None
    url: str | None = None
    updated_at: Time = None


class Commented(Shape):
    """The issue or merge request that a note is on."""

    number: int = Field(validation_alias="iid")
    title: FirstLine
    state: str | None = None


class Pipeline(Shape):
    id: int
    name: str | None = None
    ref: str
    commit: str = Field(validation_alias="sha")
    status: str
    url: str | None = None
    created_at: Time = None
    finished_at: Time = None
    duration: float | None = None


class PipelineContext(Shape):
    message: FirstLine = Field(default="", validation_alias=AliasPath("commit", "message"))
    web_url: str | None = Field(default=None, validation_alias=AliasPath("project", "web_url"))


class Job(Shape):
    id: int = Field(validation_alias="build_id")
    name: str = Field(validation_alias="build_name")
    stage: str = Field(validation_alias="build_stage")
    status: str = Field(validation_alias="build_status")
    ref: str
    started_at: Time = Field(default=None, validation_alias="build_started_at")
    finished_at: Time = Field(default=None, validation_alias="build_finished_at")
    web_url: str | None = Field(default=None, validation_alias=AliasPath("project", "web_url"))


class Deployment(Shape):
    id: int = Field(validation_alias="deployment_id")
    status: str
    environment: str
    version: str | None = Field(default=None, validation_alias="short_sha")
    message: FirstLine = Field(default="", validation_alias="commit_title")
    url: str | None = Field(default=None, validation_alias="deployable_url")
    at: Time = Field(default=None, validation_alias="status_changed_at")


class Release(Shape):
    tag: str
    name: FirstLine = ""
    body: Text = Field(default="", validation_alias="description")
    action: str
    url: str | None = None
    released_at: Time = None
