"""`prometheus_metrics_find` and `prometheus_labels`."""

import json
from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from devops_mcp.adapters.actions import ByAction, Takes
from devops_mcp.adapters.base import Listing, ListParams
from devops_mcp.adapters.prometheus.client import Answer, Prometheus
from devops_mcp.adapters.prometheus.paging import page
from devops_mcp.adapters.prometheus.series import Labels
from devops_mcp.adapters.prometheus.times import parse_time
from devops_mcp.adapters.prometheus.tools.arguments import Equal, LabelName, Time
from devops_mcp.adapters.shapes import Shape, Text, read_all
from devops_mcp.models.errors import UpstreamInvalid

MAX_ASKED = 10_000
"""Names or series that a newer Prometheus is asked for at most; an older one gives all."""
_SUFFIXES = ("_bucket", "_count", "_sum", "_total", "_created")


class FindParams(ListParams):
    name: str | None = Field(
        default=None,
        min_length=1,
        max_length=500,
        description="Regular expression found anywhere in the name, in any case: `http.*duration`.",
    )
    labels: Equal = Field(default_factory=dict)


class Metric(BaseModel):
    """`type`, `help` and `unit` as the target tells them; recording rules have none."""

    name: str
    type: str | None = None
    help: str | None = None
    unit: str | None = None


class Metrics(Listing[Metric]):
    """By name."""


class LabelParams(ByAction, ListParams):
    action: Literal["names", "values", "series"] = Field(
        description="Names of labels, values of one label, or the label sets of series."
    )
    label: LabelName | None = Field(default=None, description="Whose values.")
    match: tuple[str, ...] = Field(
        default=(), max_length=10, description='Only of series matching one of these: `up{job="api"}`.'
    )
    start: Time | None = Field(default=None, description="Only of series with samples since, roughly.")
    end: Time | None = Field(default=None, description="And until.")

    actions: ClassVar = {
        "names": Takes(may=("match",)),
        "values": Takes(needs=("label",), may=("match",)),
        "series": Takes(needs=("match",)),
    }


class LabelList(Listing[str | Labels]):
    """Text for names and values, an object of labels for series. No `total`: Prometheus had more than it was asked for."""


class RawMetadata(Shape):
    type: Text = ""
    help: Text = ""
    unit: Text = ""


async def metrics_find(client: Prometheus, params: FindParams) -> Metrics:
    """Find metrics by name or labels, with type, help and unit. Use before writing PromQL; never guess a metric's name."""
    selector = _selector(params)
    answer = await client.get(
        "label", "__name__", "values", arguments={"match[]": selector, "limit": str(MAX_ASKED)}
    )
    names = _texts(answer)
    shown, cursor = page(names, params.limit, params.cursor)
    metadata = await _metadata(client) if shown else {}
    return Metrics(
        items=[_metric(name, metadata) for name in shown],
        next_cursor=cursor,
        total=_total(answer, names),
    )


async def labels(client: Prometheus, params: LabelParams) -> LabelList:
    """List label names, the values of a label, or series with all their labels. Use to learn how to filter and group a metric."""
    now = client.now()
    arguments = {
        "match[]": params.match or None,
        "start": f"{parse_time(params.start, now):.3f}" if params.start else None,
        "end": f"{parse_time(params.end, now):.3f}" if params.end else None,
        "limit": str(MAX_ASKED),
    }
    found: list[str | Labels]
    if params.action == "values":
        answer = await client.get("label", str(params.label), "values", arguments=arguments)
        found = [*_texts(answer)]
    elif params.action == "names":
        answer = await client.ask("labels", arguments)
        found = [*_texts(answer)]
    else:
        answer = await client.ask("series", arguments)
        found = [*_label_sets(answer)]
    shown, cursor = page(found, params.limit, params.cursor)
    return LabelList(items=shown, next_cursor=cursor, total=_total(answer, found))


def _selector(params: FindParams) -> str | None:
    """A selector for the metrics asked for; None for all."""
    matchers = [f"{name}={_quote(value)}" for name, value in params.labels.items()]
    if params.name is not None:
        matchers.append(f"__name__=~{_quote(f'(?i:.*(?:{params.name}).*)')}")
    if not matchers:
        return None
    # Prometheus refuses a selector that could match the empty name only; every metric has one.
    return "{" + ",".join([*matchers, '__name__!=""']) + "}"


def _quote(value: str) -> str:
    """A PromQL string; its escapes are Go's, of which JSON's are a part."""
    return json.dumps(value, ensure_ascii=False)


async def _metadata(client: Prometheus) -> dict[str, RawMetadata]:
    data = (await client.get("metadata", arguments={"limit_per_metric": "1"})).data
    if not isinstance(data, dict):
        raise UpstreamInvalid("prometheus' metadata is not an object")
    return {name: known[0] for name, entries in data.items() if (known := read_all(RawMetadata, entries))}


def _metric(name: str, metadata: dict[str, RawMetadata]) -> Metric:
    """Histograms, summaries and OpenMetrics counters are described under their name without its suffix."""
    bases = [name, *(name.removesuffix(suffix) for suffix in _SUFFIXES if name.endswith(suffix))]
    for base in bases:
        if (known := metadata.get(base)) is not None:
            return Metric(
                name=name, type=known.type or None, help=known.help or None, unit=known.unit or None
            )
    return Metric(name=name)


def _total(answer: Answer, found: list[str] | list[str | Labels]) -> int | None:
    cut = len(found) >= MAX_ASKED and any("limit" in warning for warning in answer.warnings)
    return None if cut else len(found)


def _texts(answer: Answer) -> list[str]:
    if not isinstance(answer.data, list):
        raise UpstreamInvalid("prometheus answered no list of names")
    return [str(name) for name in answer.data]


def _label_sets(answer: Answer) -> list[Labels]:
    if not isinstance(answer.data, list) or not all(isinstance(item, dict) for item in answer.data):
        raise UpstreamInvalid("prometheus answered no list of series")
    return [{str(name): str(value) for name, value in item.items()} for item in answer.data]
