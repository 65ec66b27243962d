"""Notifications of Harness pipelines, as their webhook method sends them.

https://developer.harness.io/docs/continuous-delivery/x-platform-cd-features/cd-steps/notify-users-of-pipeline-events
"""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.code_hosts import Payload, Time, activity, named, seconds_between, shaped
from devops_mcp.adapters.deliveries import about
from devops_mcp.adapters.shapes import FirstLine, Shape
from devops_mcp.events.model import BuildEvent, Event
from devops_mcp.models.errors import InvalidInput

_EVENT = re.compile(r"[A-Z][A-Za-z]{1,59}")
_BUILDS = {"PipelineStart": "started", "PipelineSuccess": "succeeded", "PipelineFailed": "failed"}


class _Run(Shape):
    pipeline: str = Field(validation_alias="pipelineIdentifier")
    name: FirstLine = Field(default="", validation_alias="pipelineName")
    id: str = Field(validation_alias="planExecutionId")
    status: str | None = Field(default=None, validation_alias="nodeStatus")
    stage: FirstLine = Field(default="", validation_alias="stageName")
    step: FirstLine = Field(default="", validation_alias="stepName")
    error: FirstLine = Field(default="", validation_alias="errorMessage")
    url: str | None = Field(default=None, validation_alias="executionUrl")
    started: Time = Field(default=None, validation_alias="startTs")
    ended: Time = Field(default=None, validation_alias="endTs")


def event(body: Mapping[str, Any], delivery: Delivery, origin: Origin) -> Event:
    """A pipeline that started, succeeded or failed.

    `PipelineEnd` does not say how it ended, and comes besides the one that does; stages and steps are parts of a pipeline. All these are
    activities.
    """
    kind = named(body, "eventData.eventType") or ""
    if not _EVENT.fullmatch(kind):
        raise InvalidInput("body.eventData.eventType does not name an event")
    run = shaped(kind, _Run, body["eventData"], "body.eventData")
    owner = (named(body, f"eventData.{part}Identifier") for part in ("org", "project"))
    subject = "/".join(part for part in owner if part) or run.pipeline
    payload = Payload(
        "harness", kind, body, origin, delivery, subject, named(body, "eventData.triggeredBy.name")
    )
    return _build(payload, run) if kind in _BUILDS else _part(payload, run)


def _build(payload: Payload, run: _Run) -> Event:
    finished = payload.event != "PipelineStart"
    name = run.name or run.pipeline
    title = f"Pipeline '{name}' {_BUILDS[payload.event]} in {payload.subject}{about(run.error)}"
    return BuildEvent(
        **payload.told(title, run.url, run.ended if finished else run.started),
        type="build.finished" if finished else "build.started",
        workflow=name,
        run_id=run.id,
        conclusion=run.status if finished else None,
        failed=payload.event == "PipelineFailed",
        duration_s=seconds_between(run.started, run.ended) if finished else None,
    )


def _part(payload: Payload, run: _Run) -> Event:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", payload.event).lower()
    place = " ".join(f"'{part}'" for part in dict.fromkeys((run.stage, run.step)) if part)
    return activity(
        payload,
        words=f"{words} {place}".strip(),
        details=[f"pipeline '{run.name or run.pipeline}'", run.error],
        url=run.url,
        at=run.ended or run.started,
    )
