"""GitHub Actions: https://docs.github.com/rest/actions"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import AliasPath, Field

from devops_mcp.adapters.actions import ByAction, Takes
from devops_mcp.adapters.base import Effect, ListParams, Risk, Tool, ToolResult, WriteParams, WriteResult
from devops_mcp.adapters.github.client import GitHub, Page
from devops_mcp.adapters.github.tools.common import Change, Login, Number, Ref, RepoArgument, Sha, given, make
from devops_mcp.adapters.shapes import FirstLine, Shape, read, read_all

FAILED = frozenset({"failure", "timed_out", "startup_failure"})
"""Conclusions that mean the code or its pipeline is at fault; `cancelled` and `action_required` do not."""

Workflow = Annotated[str, Field(pattern=r"^[^\x00-\x1f/]{1,255}$")]


class WorkflowItem(Shape):
    id: int
    name: str
    path: str
    state: str


class Run(Shape):
    """A run of a workflow. `conclusion` is None while it runs."""

    id: int
    workflow: str | None = Field(default=None, validation_alias="name")
    title: FirstLine = Field(default="", validation_alias="display_title")
    number: int = Field(validation_alias="run_number")
    attempt: int = Field(default=1, validation_alias="run_attempt")
    event: str
    status: str | None = None
    conclusion: str | None = None
    branch: str | None = Field(default=None, validation_alias="head_branch")
    sha: str = Field(validation_alias="head_sha")
    by: str | None = Field(default=None, validation_alias=AliasPath("triggering_actor", "login"))
    created_at: datetime | None = None
    updated_at: datetime | None = None
    url: str | None = Field(default=None, validation_alias="html_url")


class Step(Shape):
    name: str
    number: int
    status: str | None = None
    conclusion: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None


class Job(Shape):
    id: int
    name: str
    status: str | None = None
    conclusion: str | None = None
    runner: str | None = Field(default=None, validation_alias="runner_name")
    started_at: datetime | None = None
    completed_at: datetime | None = None
    steps: tuple[Step, ...] = ()
    url: str | None = Field(default=None, validation_alias="html_url")

    @property
    def failed_steps(self) -> list[Step]:
        return [step for step in self.steps if step.conclusion in FAILED]


class Artifact(Shape):
    id: int
    name: str
    size_bytes: int = Field(validation_alias="size_in_bytes")
    expired: bool = False
    created_at: datetime | None = None
    expires_at: datetime | None = None


class ActionsReadParams(ByAction, RepoArgument, ListParams):
    action: Literal["workflows", "runs", "run", "jobs", "artifacts"] = Field(
        default="runs", description="What to read."
    )
    run_id: Number | None = Field(default=None, description="For run, jobs and artifacts.")
    workflow: Workflow | None = Field(default=None, description="File name (`ci.yml`) or id; runs.")
    branch: Ref | None = Field(default=None, description="runs.")
    status: (
        Literal[
            "queued", "in_progress", "completed", "waiting", "requested", "pending",
            "success", "failure", "timed_out", "startup_failure", "cancelled", "skipped", "neutral", "stale", "action_required",
        ]
        | None
    ) = Field(default=None, description="Status or conclusion; runs.")  # fmt: skip
    event: Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")] | None = Field(
        default=None, description="What started it, such as `push`; runs."
    )
    actor: Login | None = Field(default=None, description="runs.")
    head_sha: Sha | None = Field(default=None, description="runs.")
    all_attempts: bool = Field(default=False, description="Jobs of earlier attempts too; jobs.")

    actions: ClassVar[Mapping[str, Takes]] = {
        "workflows": Takes(),
        "runs": Takes(may=("workflow", "branch", "status", "event", "actor", "head_sha")),
        "run": Takes(needs=("run_id",)),
        "jobs": Takes(needs=("run_id",), may=("all_attempts",)),
        "artifacts": Takes(needs=("run_id",)),
    }


class ActionsRead(ToolResult):
    """The part that was asked for."""

    workflows: list[WorkflowItem] | None = None
    runs: list[Run] | None = None
    run: Run | None = None
    jobs: list[Job] | None = None
    artifacts: list[Artifact] | None = None
    total: int | None = None
    next_cursor: str | None = None


async def read_actions(github: GitHub, params: ActionsReadParams) -> ActionsRead:
    """Read GitHub Actions: workflows; runs, newest first; one run; its jobs and steps; its artifacts. For logs use github_job_logs."""
    base = github.repo(params.repo, "actions")
    run = f"{base}/runs/{params.run_id}"
    if params.action == "run":
        return ActionsRead(run=read(Run, await github.json(run)))
    if params.action == "workflows":
        page = await _page(github, params, f"{base}/workflows", "workflows")
        return ActionsRead(
            workflows=read_all(WorkflowItem, page.items), total=page.total, next_cursor=page.next_cursor
        )
    if params.action == "jobs":
        query = {"filter": "all" if params.all_attempts else "latest"}
        page = await _page(github, params, f"{run}/jobs", "jobs", query)
        return ActionsRead(jobs=read_all(Job, page.items), total=page.total, next_cursor=page.next_cursor)
    if params.action == "artifacts":
        page = await _page(github, params, f"{run}/artifacts", "artifacts")
        return ActionsRead(
            artifacts=read_all(Artifact, page.items), total=page.total, next_cursor=page.next_cursor
        )
    page = await _page(github, params, _runs_path(github, params), "workflow_runs", _filters(params))
    return ActionsRead(runs=read_all(Run, page.items), total=page.total, next_cursor=page.next_cursor)


def _runs_path(github: GitHub, params: ActionsReadParams) -> str:
    if params.workflow is None:
        return github.repo(params.repo, "actions", "runs")
    return github.repo(params.repo, "actions", "workflows", params.workflow, "runs")


def _filters(params: ActionsReadParams) -> dict[str, object]:
    wanted = ("branch", "status", "event", "actor", "head_sha")
    return {name: getattr(params, name) for name in wanted}


async def _page(
    github: GitHub,
    params: ActionsReadParams,
    path: str,
    items: str,
    query: Mapping[str, object] | None = None,
) -> Page:
    return await github.page(path, limit=params.limit, cursor=params.cursor, items=items, params=query)


class ActionsRunParams(ByAction, RepoArgument, WriteParams):
    action: Literal["dispatch", "rerun", "rerun_failed", "rerun_job", "cancel"] = Field(
        description="What to do; dispatch starts a workflow that allows it."
    )
    workflow: Workflow | None = Field(default=None, description="File name (`deploy.yml`) or id; dispatch.")
    ref: Ref | None = Field(default=None, description="Branch or tag to run on; dispatch.")
    inputs: dict[str, str] | None = Field(default=None, max_length=25, description="dispatch.")
    run_id: Number | None = Field(default=None, description="rerun, rerun_failed, cancel.")
    job_id: Number | None = Field(default=None, description="rerun_job.")

    actions: ClassVar[Mapping[str, Takes]] = {
        "dispatch": Takes(needs=("workflow", "ref"), may=("inputs",)),
        "rerun": Takes(needs=("run_id",)),
        "rerun_failed": Takes(needs=("run_id",)),
        "rerun_job": Takes(needs=("job_id",)),
        "cancel": Takes(needs=("run_id",)),
    }


async def run_actions(github: GitHub, params: ActionsRunParams) -> WriteResult:
    """Start a workflow by hand (dispatch), repeat a run, its failed jobs or one job, or cancel a run.

    GitHub answers before the run begins; follow it with github_actions_read.
    """
    return await make(github, _change(github, params), dry_run=params.dry_run)


def _change(github: GitHub, params: ActionsRunParams) -> Change:
    repo = github.repo_name(params.repo)
    if params.workflow is not None:
        what = f"workflow {params.workflow} on {params.ref} in {repo}"
        target = github.repo(repo, "actions", "workflows", params.workflow, "dispatches")
        body = given(ref=params.ref, inputs=None if params.inputs is None else {**params.inputs})
        return Change("POST", target, f"start {what}", f"started {what}", body)
    if params.job_id is not None:
        what, target = f"job {params.job_id}", github.repo(repo, "actions", "jobs", params.job_id, "rerun")
        return Change("POST", target, f"run {what} again", f"began to run {what} again")
    run, what = github.repo(repo, "actions", "runs", str(params.run_id)), f"run {params.run_id} in {repo}"
    if params.action == "cancel":
        return Change("POST", f"{run}/cancel", f"cancel {what}", f"asked to cancel {what}")
    if params.action == "rerun_failed":
        what = f"the failed jobs of {what}"
        return Change("POST", f"{run}/rerun-failed-jobs", f"run {what} again", f"began to run {what} again")
    return Change("POST", f"{run}/rerun", f"run {what} again", f"began to run {what} again")


TOOLS = (
    Tool(
        "github_actions_read", "Read workflows, runs and jobs", ActionsReadParams, ActionsRead, read_actions
    ),
    Tool(
        "github_actions_run",
        "Start, repeat or cancel a workflow run",
        ActionsRunParams,
        WriteResult,
        run_actions,
        effect=Effect.WRITE,
        risk=Risk.HIGH,
    ),
)
