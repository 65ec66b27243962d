"""The state of breakers, bulkheads and retries for Prometheus, read when it asks."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from devops_mcp.resilience.breaker import BreakerState
from devops_mcp.resilience.policies import PolicySnapshot


class UpstreamCollector(Collector):
    """One sample an integration, labelled by its name; integrations of one name in several tenants are counted together.

    The models that are asked over the network are among them, as `embedding:<name>` and `summary-model`.
    """

    def __init__(self, snapshot: Callable[[], Mapping[str, PolicySnapshot]]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        label = ["integration"]
        is_open = GaugeMetricFamily(
            "devops_mcp_upstream_breaker_open", "1 while calls are refused", labels=label
        )
        running = GaugeMetricFamily("devops_mcp_upstream_calls_running", "Calls under way", labels=label)
        refused = CounterMetricFamily(
            "devops_mcp_upstream_calls_refused", "Calls not made: breaker or bulkhead", labels=label
        )
        retries = CounterMetricFamily("devops_mcp_upstream_retries", "Calls made again", labels=label)
        for name, policies in self._by_name().items():
            is_open.add_metric([name], float(any(p.breaker.state is BreakerState.OPEN for p in policies)))
            running.add_metric([name], sum(p.bulkhead.running for p in policies))
            refused.add_metric([name], sum(p.breaker.refused + p.bulkhead.refused for p in policies))
            retries.add_metric([name], sum(p.retry.retries for p in policies))
        return (is_open, running, refused, retries)

    def _by_name(self) -> dict[str, list[PolicySnapshot]]:
        by_name: dict[str, list[PolicySnapshot]] = {}
        for key, snapshot in self._snapshot().items():
            by_name.setdefault(key.rsplit("/", 1)[-1], []).append(snapshot)
        return by_name
