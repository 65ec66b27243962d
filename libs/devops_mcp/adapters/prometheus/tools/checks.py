"""`prometheus_query_check` and `prometheus_exemplars`."""

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from devops_mcp.adapters.base import Listing, ListParams, ReadParams, ToolResult
from devops_mcp.adapters.prometheus.client import Prometheus
from devops_mcp.adapters.prometheus.paging import page
from devops_mcp.adapters.prometheus.series import Labels, Number, number
from devops_mcp.adapters.prometheus.times import parse_time, rfc3339
from devops_mcp.adapters.prometheus.tools.arguments import PromQL, Time
from devops_mcp.adapters.shapes import Shape, read_all
from devops_mcp.models.errors import UpstreamNotFound, UpstreamRejected

SYNTAX_ONLY = "this server has no parse_query, which newer versions have: the syntax was checked, what the query selects is not told"


class CheckParams(ReadParams):
    query: PromQL


class QueryCheck(ToolResult):
    """`formatted` is the expression as Prometheus reads it. `selectors` are what it takes from the database, `functions` what it calls."""

    valid: bool
    error: str | None = None
    formatted: str | None = None
    selectors: list[str] | None = None
    functions: list[str] | None = None
    note: str | None = None


class ExemplarParams(ListParams):
    query: PromQL
    start: Time = "-1h"
    end: Time = "now"


class Exemplar(Shape):
    """`labels` usually hold a `trace_id`."""

    at: str
    value: Number
    labels: Labels
    series: Labels


class Exemplars(Listing[Exemplar]):
    """Newest first."""

    note: str | None = None


class RawExemplar(Shape):
    labels: Labels
    value: str
    timestamp: float


class RawExemplars(Shape):
    series: Labels = Field(validation_alias="seriesLabels")
    exemplars: list[RawExemplar]


async def query_check(client: Prometheus, params: CheckParams) -> QueryCheck:
    """Check PromQL without running it: is it valid, how is it read, which series does it select. Use before a costly or a saved query."""
    try:
        formatted = (await client.ask("format_query", {"query": params.query})).data
    except UpstreamRejected as error:
        return QueryCheck(valid=False, error=error.message)
    check = QueryCheck(valid=True, formatted=str(formatted))
    try:
        tree = (await client.ask("parse_query", {"query": params.query})).data
    except UpstreamNotFound:
        check.note = SYNTAX_ONLY
        return check
    nodes = list(_nodes(tree))
    check.selectors = sorted({_selector(node) for node in nodes if "matchers" in node})
    check.functions = sorted({name for node in nodes if (name := _function(node))})
    return check


async def exemplars(client: Prometheus, params: ExemplarParams) -> Exemplars:
    """List exemplars of the series in a query: single observations with the trace they belong to. Use to get from a metric to a trace."""
    now = client.now()
    answer = await client.ask(
        "query_exemplars",
        {
            "query": params.query,
            "start": f"{parse_time(params.start, now):.3f}",
            "end": f"{parse_time(params.end, now):.3f}",
        },
    )
    found = [(raw, one) for raw in read_all(RawExemplars, answer.data) for one in raw.exemplars]
    found.sort(key=lambda pair: -pair[1].timestamp)
    shown, cursor = page(found, params.limit, params.cursor)
    note = None if found else "none; Prometheus keeps exemplars only with --enable-feature=exemplar-storage"
    return Exemplars(
        items=[_exemplar(raw.series, one) for raw, one in shown],
        next_cursor=cursor,
        total=len(found),
        note=note,
    )


def _exemplar(series: Labels, raw: RawExemplar) -> Exemplar:
    return Exemplar(at=rfc3339(raw.timestamp), value=number(raw.value), labels=raw.labels, series=series)


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every node of a syntax tree, without recursion: how deep it is, is up to the expression."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _selector(node: dict[str, Any]) -> str:
    """`http_requests_total{job="api"}`"""
    matchers = [m for m in node["matchers"] or [] if not (m.get("name") == "__name__" and node.get("name"))]
    inner = ",".join(f'{m.get("name")}{m.get("type")}"{m.get("value")}"' for m in matchers)
    return f"{node.get('name') or ''}{{{inner}}}" if inner else str(node.get("name") or "{}")


def _function(node: dict[str, Any]) -> str | None:
    """The name of a function called, or of an aggregation."""
    match node:
        case {"type": "call", "func": {"name": str(name)}}:
            return name
        case {"type": "aggregation", "op": str(name)}:
            return name
        case _:
            return None
