"""`prometheus_query` and `prometheus_query_range`."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from devops_mcp.adapters.base import ReadParams, ToolResult
from devops_mcp.adapters.prometheus.client import Answer, Prometheus
from devops_mcp.adapters.prometheus.series import (
    Grid,
    Histogram,
    Labels,
    Number,
    Sample,
    Summary,
    number,
    own_labels,
    shared_labels,
    summarise,
)
from devops_mcp.adapters.prometheus.times import choose_step, parse_duration, parse_time, rfc3339
from devops_mcp.adapters.prometheus.tools.arguments import PromQL, Time
from devops_mcp.adapters.shapes import Shape, read, read_all
from devops_mcp.models.errors import InvalidInput, UpstreamInvalid

MAX_SAMPLES = 200
MAX_STEPS = 11_000
"""Prometheus' own limit of points a series."""
NOTHING = (
    "no series matched; check names with prometheus_metrics_find and prometheus_labels, and that samples"
    " exist at that time (Prometheus looks back 5 minutes by default)"
)
Pair = tuple[float, Any]


class QueryParams(ReadParams):
    query: PromQL
    time: Time = "now"
    limit: int = Field(default=50, ge=1, le=500, description="Series shown.")


class RangeParams(ReadParams):
    query: PromQL
    start: Time = "-1h"
    end: Time = "now"
    step: str | None = Field(
        default=None, max_length=40, description="`30s`, `5m`, or seconds; default: from max_points."
    )
    max_points: int = Field(
        default=240, ge=2, le=5_000, description="Values in the answer; above it, series are summarised."
    )
    limit: int = Field(default=20, ge=1, le=200, description="Series shown.")


class InstantSeries(BaseModel):
    """`value` of a vector; `summary` and the newest `samples` (unix seconds, value) of a range selector; `histogram` of a native one."""

    model_config = ConfigDict(extra="forbid")

    labels: Labels
    value: Number | None = None
    histogram: Histogram | None = None
    samples: list[Sample] | None = None
    summary: Summary | None = None


class QueryResult(ToolResult):
    """`shared_labels` belong to every series. `total` counts all series, also those not shown."""

    type: str
    at: str
    value: Number | None = None
    total: int | None = None
    shared_labels: Labels = Field(default_factory=dict)
    series: list[InstantSeries] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    note: str | None = None


class RangeSeries(BaseModel):
    """`values`: one a step from `start`, null without a sample. Where that was too much, `summary` instead."""

    model_config = ConfigDict(extra="forbid")

    labels: Labels
    values: list[Number | None] | None = None
    summary: Summary | None = None
    histogram: Histogram | None = None


class RangeResult(ToolResult):
    """Series evaluated at `steps` moments from `start`, `step_s` apart. `shared_labels` belong to every series."""

    start: str
    end: str
    step_s: float
    steps: int
    total: int
    shared_labels: Labels = Field(default_factory=dict)
    series: list[RangeSeries]
    warnings: list[str] = Field(default_factory=list)
    note: str | None = None


class RawSeries(Shape):
    metric: Labels = Field(default_factory=dict)
    value: Pair | None = None
    values: list[Pair] = Field(default_factory=list)
    histogram: tuple[float, dict[str, Any]] | None = None
    histograms: list[tuple[float, dict[str, Any]]] = Field(default_factory=list)


class RawResult(Shape):
    result_type: str = Field(validation_alias="resultType")
    result: list[Any]


async def query(client: Prometheus, params: QueryParams) -> QueryResult:
    """Evaluate PromQL at one moment: current values, rankings (`topk`), sums. For a course over time use prometheus_query_range."""
    at = parse_time(params.time, client.now())
    answer = await client.evaluate("query", {"query": params.query, "time": f"{at:.3f}"})
    raw = read(RawResult, answer.data)
    result = QueryResult(type=raw.result_type, at=rfc3339(at), warnings=answer.warnings)
    match raw.result_type, raw.result:
        case "scalar", [_, value]:
            result.value = number(value)
        case "string", [_, value]:
            result.value = str(value)
        case "vector" | "matrix", _:
            _fill(result, read_all(RawSeries, raw.result), params.limit)
        case _:
            raise UpstreamInvalid(f"prometheus answered a {raw.result_type!r}, which is no result we know")
    return result


async def query_range(client: Prometheus, params: RangeParams) -> RangeResult:
    """Evaluate PromQL over a time range. Few values come as they are, many as min, max, avg, last and a sparkline for each series."""
    grid = _grid(client, params)
    answer = await client.evaluate(
        "query_range",
        {
            "query": params.query,
            "start": f"{grid.start_ms / 1000:.3f}",
            "end": f"{grid.end_ms / 1000:.3f}",
            "step": f"{grid.step_ms / 1000:.3f}",
        },
    )
    return _range_result(grid, answer, params)


def _fill(result: QueryResult, found: list[RawSeries], limit: int) -> None:
    shown = found[:limit]
    result.total = len(found)
    result.shared_labels = shared_labels([series.metric for series in found])
    room = MAX_SAMPLES // max(1, len(shown))
    result.series = [_instant(series, result.shared_labels, room) for series in shown]
    result.note = _note(len(found), limit)


def _instant(raw: RawSeries, shared: Labels, room: int) -> InstantSeries:
    series = InstantSeries(labels=own_labels(raw.metric, shared))
    if raw.value is not None:
        series.value = number(raw.value[1])
    elif raw.values:
        samples = _samples(raw)
        series.samples = samples[-room:] if room else None
        series.summary = summarise([value for _, value in samples], samples)
    histograms = [*raw.histograms, *([raw.histogram] if raw.histogram else [])]
    series.histogram = _histogram(histograms[-1][1]) if histograms else None
    return series


def _grid(client: Prometheus, params: RangeParams) -> Grid:
    now = client.now()
    start, end = parse_time(params.start, now), parse_time(params.end, now)
    if start > end:
        raise InvalidInput(f"start ({rfc3339(start)}) is after end ({rfc3339(end)})")
    step = parse_duration(params.step) if params.step else choose_step(end - start, params.max_points)
    grid = Grid.of(start, end, step)
    if grid.steps > MAX_STEPS:
        raise InvalidInput(
            f"step {params.step} makes {grid.steps} points; Prometheus takes at most {MAX_STEPS}"
        )
    return grid


def _range_result(grid: Grid, answer: Answer, params: RangeParams) -> RangeResult:
    found = read_all(RawSeries, read(RawResult, answer.data).result)
    shown = found[: params.limit]
    shared = shared_labels([series.metric for series in found])
    whole = len(shown) * grid.steps <= params.max_points
    return RangeResult(
        start=rfc3339(grid.start_ms / 1000),
        end=rfc3339(grid.end_ms / 1000),
        step_s=grid.step_ms / 1000,
        steps=grid.steps,
        total=len(found),
        shared_labels=shared,
        series=[_ranged(series, shared, grid, whole=whole) for series in shown],
        warnings=answer.warnings,
        note=_note(len(found), params.limit),
    )


def _ranged(raw: RawSeries, shared: Labels, grid: Grid, *, whole: bool) -> RangeSeries:
    samples = _samples(raw)
    values = grid.place(samples)
    series = RangeSeries(labels=own_labels(raw.metric, shared))
    if raw.histograms:
        series.histogram = _histogram(raw.histograms[-1][1])
    if samples and whole:
        series.values = values
    elif samples:
        series.summary = summarise(values, samples)
    return series


def _samples(raw: RawSeries) -> list[Sample]:
    return [(at, number(value)) for at, value in raw.values]


def _histogram(raw: dict[str, Any]) -> Histogram:
    return Histogram(
        count=number(raw.get("count")), sum=number(raw.get("sum")), buckets=len(raw.get("buckets") or [])
    )


def _note(total: int, limit: int) -> str | None:
    if total == 0:
        return NOTHING
    return f"{limit} of {total} series shown; aggregate, filter or use topk()" if total > limit else None
