"""What a process counts and times, for Prometheus.

One `Metrics` a process, made in `app.py` and passed on. Labels take values from closed sets (systems, tools, queues, outcomes, route
templates); should one grow without end, its further values are counted together as `other`. Tenants are never a label.
"""

from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

_PREFIX = "devops_mcp"
_OTHER = "other"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The named counters and histograms of one process."""

    def __init__(self, registry: CollectorRegistry | None = None, *, max_label_values: int = 500) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._bounds: dict[str, _Bound] = {}
        self._max_label_values = max_label_values
        self._http: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._tools: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self._requests = self._counter("http_requests", "HTTP requests answered", "method", "route", "status")
        self._request_seconds = self._histogram(
            "http_request_seconds", "Time to answer an HTTP request", "route"
        )
        self._connections_refused = self._counter(
            "connections_refused", "Connections cut before a request was served", "reason"
        )
        self._webhooks = self._counter("webhooks", "Webhook deliveries received", "system", "outcome")
        self._webhooks_sent = self._counter(
            "webhooks_sent", "Attempts to deliver outgoing webhooks", "outcome"
        )
        self._polls = self._counter(
            "polls", "Looks into systems that are polled", "system", "poller", "outcome"
        )
        self._polled_events = self._counter("polled_events", "Events that polls found", "system", "poller")
        self._rule_runs = self._counter("rule_runs", "What rules made of events that they mean", "outcome")
        self._tool_calls = self._counter("tool_calls", "Tool calls", "tool", "outcome")
        self._tool_seconds = self._histogram("tool_call_seconds", "Time of a tool call", "tool")
        self._queue_messages = self._counter("queue_messages", "Queue messages handled", "queue", "outcome")
        self._queue_seconds = self._histogram(
            "queue_message_seconds", "Time to handle a queue message", "queue"
        )
        self._search_seconds = self._histogram("search_seconds", "Time of a search", "mode")
        self._notices = self._counter("notices", "Notices between replicas", "outcome")
        self._outbox_published = self._counter("outbox_published", "Outbox rows published", "queue")
        self._audit_records_set_aside = self._counter(
            "audit_records_set_aside", "Audit records that could not be written; the log has them"
        )
        self.outbox_pending = Gauge(
            f"{_PREFIX}_outbox_pending", "Outbox rows not yet published", registry=self.registry
        )
        self.websocket_connections = Gauge(
            f"{_PREFIX}_websocket_connections", "Open WebSockets", registry=self.registry
        )

    def http_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request; `route` is the template (`/api/v1/tools/{name}`), never the path."""
        children = self._http.get((method, route, status))
        if children is None:
            children = self._http_children(method, route, status)
        children[0].inc()
        children[1].observe(seconds)

    def connection_refused(self, reason: str) -> None:
        self._connections_refused.labels(self._bound("reason", reason)).inc()

    def webhook(self, system: str, outcome: str) -> None:
        self._webhooks.labels(self._bound("system", system), self._bound("outcome", outcome)).inc()

    def webhook_sent(self, outcome: str) -> None:
        self._webhooks_sent.labels(self._bound("outcome", outcome)).inc()

    def poll(self, system: str, poller: str, outcome: str, events: int) -> None:
        of = self._bound("system", system), self._bound("poller", poller)
        self._polls.labels(*of, self._bound("outcome", outcome)).inc()
        self._polled_events.labels(*of).inc(events)

    def rule_runs(self, outcome: str, count: int) -> None:
        self._rule_runs.labels(self._bound("outcome", outcome)).inc(count)

    def tool_call(self, tool: str, outcome: str, seconds: float) -> None:
        children = self._tools.get((tool, outcome))
        if children is None:
            children = self._tool_children(tool, outcome)
        children[0].inc()
        children[1].observe(seconds)

    def queue_messages(self, queue: str, outcome: str, seconds: float, count: int = 1) -> None:
        """Messages that ended alike, each after so many seconds."""
        name = self._bound("queue", queue)
        self._queue_messages.labels(name, self._bound("outcome", outcome)).inc(count)
        lasted = self._queue_seconds.labels(name)
        for _ in range(count):
            lasted.observe(seconds)

    def search(self, mode: str, seconds: float) -> None:
        self._search_seconds.labels(self._bound("mode", mode)).observe(seconds)

    def notices(self, outcome: str, count: int = 1) -> None:
        self._notices.labels(self._bound("outcome", outcome)).inc(count)

    def outbox_published(self, queue: str, count: int) -> None:
        self._outbox_published.labels(self._bound("queue", queue)).inc(count)

    def audit_record_set_aside(self) -> None:
        self._audit_records_set_aside.inc()

    def render(self) -> bytes:
        """The exposition text of everything registered."""
        return generate_latest(self.registry)

    def _http_children(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        bounded = (method if method in _METHODS else _OTHER, self._bound("route", route), status)
        if bounded not in self._http:
            counter = self._requests.labels(bounded[0], bounded[1], str(status))
            self._http[bounded] = (counter, self._request_seconds.labels(bounded[1]))
        return self._http[bounded]

    def _tool_children(self, tool: str, outcome: str) -> tuple[Counter, Histogram]:
        bounded = (self._bound("tool", tool), self._bound("outcome", outcome))
        if bounded not in self._tools:
            self._tools[bounded] = (self._tool_calls.labels(*bounded), self._tool_seconds.labels(bounded[0]))
        return self._tools[bounded]

    def _bound(self, label: str, value: str) -> str:
        bound = self._bounds.get(label)
        if bound is None:
            bound = self._bounds[label] = _Bound(self._max_label_values)
        return bound(value)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(f"{_PREFIX}_{name}", text, labels, registry=self.registry, buckets=_SECONDS)


class _Bound:
    """Lets the first `limit` values of a label through."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen: set[str] = set()

    def __call__(self, value: str) -> str:
        if value in self._seen:
            return value
        if len(self._seen) >= self._limit:
            return _OTHER
        self._seen.add(value)
        return value


def metrics_endpoint(metrics: Metrics) -> Callable[[Request], Awaitable[Response]]:
    """The handler of `/metrics`."""

    async def metrics_page(request: Request) -> Response:
        return Response(metrics.render(), media_type=None, headers={"content-type": CONTENT_TYPE_LATEST})

    return metrics_page
