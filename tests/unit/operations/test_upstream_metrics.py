"""What Prometheus is told of the calls to other systems."""

import pytest
from prometheus_client import CollectorRegistry

from devops_mcp.models.errors import UpstreamUnavailable
from devops_mcp.operations.upstream_metrics import UpstreamCollector
from devops_mcp.resilience.policies import PolicyTable


def test_an_open_breaker_shows_with_what_it_refused():
    table = PolicyTable()
    registry = CollectorRegistry()
    registry.register(UpstreamCollector(table.snapshot))
    breaker = table.of("tenant-a/github").breaker
    table.of("tenant-b/github")
    table.of("tenant-a/files")
    for _ in range(25):
        with pytest.raises(UpstreamUnavailable), breaker.guard():
            raise UpstreamUnavailable("gone")
    assert registry.get_sample_value("devops_mcp_upstream_breaker_open", {"integration": "github"}) == 1
    assert (
        registry.get_sample_value("devops_mcp_upstream_calls_refused_total", {"integration": "github"}) == 5
    )
    assert registry.get_sample_value("devops_mcp_upstream_breaker_open", {"integration": "files"}) == 0
