"""`prometheus_status` and `prometheus_snapshot`."""

import asyncio
from typing import Any, Literal

from pydantic import Field, JsonValue

from devops_mcp.adapters.base import ReadParams, ToolResult, WriteParams, WriteResult
from devops_mcp.adapters.prometheus.client import Prometheus
from devops_mcp.models.base import JsonObject
from devops_mcp.models.errors import UpstreamInvalid, UpstreamNotFound, UpstreamRejected

ADMIN_FLAG = "web.enable-admin-api"


class StatusParams(ReadParams):
    section: Literal["overview", "flags", "config", "cardinality"] = Field(
        default="overview",
        description="Version, start, storage and health; command line; configuration; metrics and labels with most series.",
    )
    limit: int = Field(default=10, ge=1, le=100, description="Entries of each ranking (cardinality).")


class Status(ToolResult):
    """`data` as Prometheus names it."""

    section: str
    data: dict[str, JsonValue]


class SnapshotParams(WriteParams):
    skip_head: bool = Field(default=False, description="Leave out the newest data, which is not yet on disk.")


async def status(client: Prometheus, params: StatusParams) -> Status:
    """Tell about the Prometheus server itself: version and runtime, flags, configuration, or what makes it large (cardinality)."""
    match params.section:
        case "overview":
            data = await _overview(client)
        case "flags":
            data = _object((await client.get("status", "flags")).data)
        case "config":
            data = _object((await client.get("status", "config")).data)
        case "cardinality":
            data = await _cardinality(client, params.limit)
    return Status(section=params.section, data=data)


async def snapshot(client: Prometheus, params: SnapshotParams) -> WriteResult:
    """Write a snapshot of the database into Prometheus' own data folder, for a backup. Needs --web.enable-admin-api."""
    if params.dry_run:
        await _demand_admin_api(client)
        return WriteResult(dry_run=True, done="would write a snapshot into the data folder's snapshots/")
    answer = await client.change(
        "admin", "tsdb", "snapshot", arguments={"skip_head": str(params.skip_head).lower()}
    )
    name = str(_object(answer.data).get("name"))
    return WriteResult(done=f"wrote snapshots/{name} in Prometheus' data folder", data={"name": name})


async def _overview(client: Prometheus) -> JsonObject:
    build, runtime, replay = await asyncio.gather(
        _optional(client, "buildinfo"), _optional(client, "runtimeinfo"), _optional(client, "walreplay")
    )
    data = {"build": build, "runtime": runtime, "wal_replay": replay}
    if all(part is None for part in data.values()):
        raise UpstreamNotFound("prometheus answered 404 for its status; check base_url")
    return {name: part for name, part in data.items() if part is not None}


async def _cardinality(client: Prometheus, limit: int) -> JsonObject:
    """Older versions know no `limit` and give ten of each; newer ones are cut here as well, to be sure."""
    data = _object((await client.get("status", "tsdb", arguments={"limit": str(limit)})).data)
    return {name: value[:limit] if isinstance(value, list) else value for name, value in data.items()}


async def _optional(client: Prometheus, section: str) -> JsonObject | None:
    """None where a system that only resembles Prometheus lacks it."""
    try:
        return _object((await client.get("status", section)).data)
    except UpstreamNotFound:
        return None


async def _demand_admin_api(client: Prometheus) -> None:
    flags = _object((await client.get("status", "flags")).data)
    if flags.get(ADMIN_FLAG) != "true":
        raise UpstreamRejected(
            f"prometheus' admin API is off; it must be started with --{ADMIN_FLAG} for this"
        )


def _object(data: Any) -> JsonObject:
    if not isinstance(data, dict):
        raise UpstreamInvalid("prometheus' status is not an object")
    return data
