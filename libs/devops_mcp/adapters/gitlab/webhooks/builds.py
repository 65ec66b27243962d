"""Pipelines, their jobs, and deployments."""

from devops_mcp.adapters.code_hosts import Payload, activity, ended
from devops_mcp.adapters.deliveries import about
from devops_mcp.adapters.gitlab.webhooks import payloads
from devops_mcp.events.model import BuildEvent, DeploymentEvent, Event

ENDED = frozenset({"success", "failed", "canceled", "skipped"})


def pipeline(payload: Payload) -> Event:
    """A pipeline that began to run or ended; the states before, between and a wait for a person are activities."""
    run = payload.part("object_attributes", payloads.Pipeline)
    context = payload.whole(payloads.PipelineContext)
    url = run.url or (f"{context.web_url}/-/pipelines/{run.id}" if context.web_url else None)
    if run.status != "running" and run.status not in ENDED:
        return activity(payload, action=f"is {run.status}", details=[run.name, f"on {run.ref}"], url=url)
    finished = run.status in ENDED
    happened = ended(run.status) if finished else "started"
    title = f"Pipeline '{run.name or run.id}' {happened} on {run.ref} of {payload.subject}{about(context.message)}"
    return BuildEvent(
        **payload.told(title, url, run.finished_at if finished else None),
        type="build.finished" if finished else "build.started",
        workflow=run.name or "pipeline",
        run_id=str(run.id),
        branch=run.ref,
        commit=run.commit,
        conclusion=run.status if finished else None,
        failed=run.status == "failed",
        duration_s=run.duration if finished else None,
    )


def job(payload: Payload) -> Event:
    """A job is one part of a pipeline, which tells its end itself."""
    job = payload.whole(payloads.Job)
    happened = ended(job.status) if job.status in ENDED else f"is {job.status}"
    return activity(
        payload,
        words=f"job '{job.name}' ({job.stage})",
        action=happened,
        details=[f"on {job.ref}"],
        url=f"{job.web_url}/-/jobs/{job.id}" if job.web_url else None,
        at=job.finished_at if job.status in ENDED else job.started_at,
    )


def deployment(payload: Payload) -> Event:
    deployment = payload.whole(payloads.Deployment)
    route = f"of {payload.subject} at {deployment.version or 'unknown'} to {deployment.environment}"
    if deployment.status != "running" and deployment.status not in ENDED:
        action = f"is {deployment.status}"
        return activity(payload, action=action, details=[f"to {deployment.environment}"], url=deployment.url)
    finished = deployment.status in ENDED
    title = (
        f"Deployment {route} {ended(deployment.status) if finished else 'started'}{about(deployment.message)}"
    )
    return DeploymentEvent(
        **payload.told(title, deployment.url, deployment.at),
        type="deployment.finished" if finished else "deployment.started",
        service=payload.subject,
        environment=deployment.environment,
        version=deployment.version,
        state=deployment.status,
        failed=deployment.status == "failed",
    )
