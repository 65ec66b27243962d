"""Builds and deployments: workflow runs, other systems' checks and statuses, deployments."""

from devops_mcp.adapters.deliveries import about
from devops_mcp.adapters.github.webhooks import payloads
from devops_mcp.adapters.github.webhooks.activity import activity
from devops_mcp.adapters.github.webhooks.common import Payload
from devops_mcp.events.model import BuildEvent, DeploymentEvent, Event

FAILED_RUN = frozenset({"failure", "timed_out", "startup_failure"})
FAILED_STATUS = frozenset({"failure", "error"})
ENDED = frozenset({"success", "failure", "error"})
OWN_CHECKS = "github-actions"
"""The app whose check runs say again what `workflow_run` said."""


def workflow_run(payload: Payload) -> Event:
    run = payload.part("workflow_run", payloads.WorkflowRun)
    if payload.action not in ("requested", "completed"):
        return activity(payload)
    finished = payload.action == "completed"
    name = run.name or "workflow"
    where = f"on {run.branch} of {payload.subject}" if run.branch else f"of {payload.subject}"
    happened = _happened(run.conclusion) if finished else "started"
    title = f"Build '{name}' {happened} {where} (attempt {run.attempt}){about(run.message or run.title)}"
    duration = run.updated_at - run.started_at if run.updated_at and run.started_at and finished else None
    return BuildEvent(
        **payload.told(title, run.url, run.updated_at, actor=run.actor),
        type="build.finished" if finished else "build.started",
        workflow=name,
        run_id=str(run.id),
        attempt=run.attempt,
        branch=run.branch,
        commit=run.commit,
        conclusion=run.conclusion,
        failed=finished and run.conclusion in FAILED_RUN,
        duration_s=duration.total_seconds() if duration is not None else None,
    )


def check_run(payload: Payload) -> Event:
    run = payload.part("check_run", payloads.CheckRun)
    if run.app == OWN_CHECKS or payload.action not in ("created", "completed"):
        return activity(payload)
    finished = run.status == "completed"
    where = f"on {run.branch or run.commit[:7]} of {payload.subject}"
    happened = _happened(run.conclusion) if finished else "started"
    title = f"Check '{run.name}' {happened} {where}{about(run.summary)}"
    duration = run.completed_at - run.started_at if run.completed_at and run.started_at else None
    return BuildEvent(
        **payload.told(title, run.url, run.completed_at or run.started_at, actor=run.app_name),
        type="build.finished" if finished else "build.started",
        workflow=run.name,
        run_id=str(run.id),
        branch=run.branch,
        commit=run.commit,
        conclusion=run.conclusion,
        failed=run.conclusion in FAILED_RUN,
        duration_s=duration.total_seconds() if duration is not None else None,
    )


def status(payload: Payload) -> Event:
    """A commit status, which is how build systems outside of GitHub report."""
    status = payload.whole(payloads.Status)
    finished = status.state != "pending"
    branch = status.branches[0].name if status.branches else None
    happened = _happened(status.state) if finished else "started"
    where = f"on {branch or status.sha[:7]} of {payload.subject}"
    title = f"Status '{status.context}' {happened} {where}{about(status.description or status.message)}"
    return BuildEvent(
        **payload.told(title, status.target_url, status.updated_at),
        type="build.finished" if finished else "build.started",
        workflow=status.context,
        run_id=str(status.id),
        branch=branch,
        commit=status.sha,
        conclusion=status.state if finished else None,
        failed=status.state in FAILED_STATUS,
    )


def deployment(payload: Payload) -> Event:
    deployment = payload.part("deployment", payloads.Deployment)
    title = f"Deployment {_route(payload, deployment)} was requested{about(deployment.description)}"
    return DeploymentEvent(
        **payload.told(title, None, deployment.created_at),
        type="deployment.started",
        service=payload.subject,
        environment=deployment.environment,
        version=deployment.ref,
        state="created",
    )


def deployment_status(payload: Payload) -> Event:
    status = payload.part("deployment_status", payloads.DeploymentStatus)
    deployment = payload.part("deployment", payloads.Deployment)
    if status.state == "inactive":  # superseded by a later one: neither a start nor an end
        return activity(payload)
    happened = _happened(status.state) if status.state in ENDED else f"is {status.state}"
    title = f"Deployment {_route(payload, deployment)} {happened}{about(status.description)}"
    return DeploymentEvent(
        **payload.told(title, status.environment_url or status.target_url or None, status.created_at),
        type="deployment.finished" if status.state in ENDED else "deployment.started",
        service=payload.subject,
        environment=deployment.environment,
        version=deployment.ref,
        state=status.state,
        failed=status.state in FAILED_STATUS,
    )


def _route(payload: Payload, deployment: payloads.Deployment) -> str:
    return f"of {payload.subject} at {deployment.ref} to {deployment.environment}"


def _happened(conclusion: str | None) -> str:
    """The vendor's word as a verb, so that 'which build failed' finds it."""
    words = {
        "success": "succeeded",
        "failure": "failed",
        "error": "failed",
        "timed_out": "failed (timed out)",
        "startup_failure": "failed (could not start)",
        "cancelled": "was cancelled",
        "skipped": "was skipped",
        "action_required": "waits for an approval",
    }
    return words.get(conclusion or "", f"ended ({conclusion})" if conclusion else "ended")
