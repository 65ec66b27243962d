"""The tools of Prometheus, one line each."""

from datetime import timedelta
from typing import Any

from devops_mcp.adapters.base import Effect, Risk, Tool, WriteResult
from devops_mcp.adapters.prometheus.client import Prometheus
from devops_mcp.adapters.prometheus.tools.checks import (
    CheckParams,
    ExemplarParams,
    Exemplars,
    QueryCheck,
    exemplars,
    query_check,
)
from devops_mcp.adapters.prometheus.tools.metrics import (
    FindParams,
    LabelList,
    LabelParams,
    Metrics,
    labels,
    metrics_find,
)
from devops_mcp.adapters.prometheus.tools.queries import (
    QueryParams,
    QueryResult,
    RangeParams,
    RangeResult,
    query,
    query_range,
)
from devops_mcp.adapters.prometheus.tools.rules import (
    AlertParams,
    Alerts,
    RuleParams,
    Rules,
    alerts,
    rules,
)
from devops_mcp.adapters.prometheus.tools.status import SnapshotParams, Status, StatusParams, snapshot, status
from devops_mcp.adapters.prometheus.tools.targets import TargetParams, Targets, targets

_SHORT, _LONG = timedelta(seconds=15), timedelta(seconds=60)

TOOLS: tuple[Tool[Prometheus, Any, Any], ...] = (
    Tool("prometheus_query", "Query metrics at a moment", QueryParams, QueryResult, query),
    Tool("prometheus_query_range", "Query metrics over time", RangeParams, RangeResult, query_range),
    Tool("prometheus_query_check", "Check PromQL", CheckParams, QueryCheck, query_check, cache_for=_LONG),
    Tool("prometheus_exemplars", "Find traces of a metric", ExemplarParams, Exemplars, exemplars),
    Tool("prometheus_metrics_find", "Find metrics", FindParams, Metrics, metrics_find, cache_for=_LONG),
    Tool("prometheus_labels", "List labels and series", LabelParams, LabelList, labels, cache_for=_SHORT),
    Tool("prometheus_targets", "List scrape targets", TargetParams, Targets, targets),
    Tool("prometheus_rules", "List rules", RuleParams, Rules, rules),
    Tool("prometheus_alerts", "List active alerts", AlertParams, Alerts, alerts),
    Tool("prometheus_status", "Describe the server", StatusParams, Status, status, cache_for=_SHORT),
    Tool(
        "prometheus_snapshot",
        "Snapshot the database",
        SnapshotParams,
        WriteResult,
        snapshot,
        Effect.WRITE,
        Risk.MEDIUM,
    ),
)
