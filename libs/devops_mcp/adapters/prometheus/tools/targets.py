"""`prometheus_targets`."""

from collections import Counter
from typing import Literal

from pydantic import BaseModel, Field

from devops_mcp.adapters.base import Listing, ListParams
from devops_mcp.adapters.prometheus.client import Prometheus
from devops_mcp.adapters.prometheus.paging import page
from devops_mcp.adapters.prometheus.series import Labels
from devops_mcp.adapters.shapes import Shape, Text, read

NEVER = "0001-01-01T00:00:00Z"
"""What Go writes for no time."""
_RANK = {"down": 0, "unknown": 1, "up": 2}


class TargetParams(ListParams):
    health: Literal["up", "down", "unknown"] | None = Field(default=None, description="Only these.")
    job: str | None = Field(default=None, max_length=200, description="Only of this job or scrape pool.")
    state: Literal["active", "dropped"] = Field(
        default="active", description="`dropped`: found by discovery, then dropped by relabelling."
    )


class Target(BaseModel):
    """`labels` without job and instance; of a dropped target, what discovery told of it."""

    job: str
    instance: str
    health: str
    error: str | None = None
    url: str | None = None
    scraped_at: str | None = None
    duration_s: float | None = None
    pool: str | None = None
    labels: Labels | None = None


class Targets(Listing[Target]):
    """Down ones first. `health` counts all active targets by health, whatever was asked for; `dropped` those dropped."""

    health: dict[str, int]
    dropped: int


class RawTarget(Shape):
    labels: Labels = Field(default_factory=dict)
    discovered: Labels = Field(default_factory=dict, validation_alias="discoveredLabels")
    pool: Text = Field(default="", validation_alias="scrapePool")
    url: Text = Field(default="", validation_alias="scrapeUrl")
    error: Text = Field(default="", validation_alias="lastError")
    scraped_at: Text = Field(default="", validation_alias="lastScrape")
    duration_s: float = Field(default=0.0, validation_alias="lastScrapeDuration")
    health: Text = "unknown"


class RawTargets(Shape):
    active: list[RawTarget] = Field(default_factory=list, validation_alias="activeTargets")
    dropped: list[RawTarget] = Field(default_factory=list, validation_alias="droppedTargets")
    dropped_counts: dict[str, int] = Field(default_factory=dict, validation_alias="droppedTargetCounts")


async def targets(client: Prometheus, params: TargetParams) -> Targets:
    """List scrape targets, down ones first, with their last error. Use when a metric is missing or `up` is 0."""
    raw = read(RawTargets, (await client.get("targets", arguments={"state": "any"})).data)
    if params.state == "active":
        found = sorted((_active(target) for target in raw.active), key=_order)
    else:
        found = sorted((_dropped(target) for target in raw.dropped), key=_order)
    wanted = [
        target
        for target in found
        if params.health in (None, target.health) and params.job in (None, target.job, target.pool)
    ]
    shown, cursor = page(wanted, params.limit, params.cursor)
    return Targets(
        items=shown,
        next_cursor=cursor,
        total=len(wanted),
        health=dict(Counter(target.health for target in raw.active)),
        dropped=sum(raw.dropped_counts.values()) or len(raw.dropped),
    )


def _active(raw: RawTarget) -> Target:
    others = {name: value for name, value in raw.labels.items() if name not in ("job", "instance")}
    job = raw.labels.get("job", raw.pool)
    scraped = raw.scraped_at not in ("", NEVER)
    return Target(
        job=job,
        instance=raw.labels.get("instance", ""),
        health=raw.health,
        error=raw.error or None,
        url=raw.url or None,
        scraped_at=raw.scraped_at if scraped else None,
        duration_s=round(raw.duration_s, 6) if scraped else None,
        pool=raw.pool if raw.pool != job else None,
        labels=others or None,
    )


def _dropped(raw: RawTarget) -> Target:
    told = {name: value for name, value in raw.discovered.items() if name not in ("job", "__address__")}
    job = raw.discovered.get("job", raw.pool)
    return Target(
        job=job, instance=raw.discovered.get("__address__", ""), health="dropped", labels=told or None
    )


def _order(target: Target) -> tuple[int, str, str]:
    return _RANK.get(target.health, 1), target.job, target.instance
