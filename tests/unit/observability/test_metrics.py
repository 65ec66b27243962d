from devops_mcp.observability.metrics import Metrics


def test_each_kind_of_work_is_counted_under_its_labels() -> None:
    metrics = Metrics()

    metrics.http_request("GET", "/api/v1/tools/{name}", 200, 0.003)
    metrics.webhook("github", "accepted")
    metrics.tool_call("github_pr_read", "ok", 0.2)
    metrics.queue_messages("events", "done", 0.01)
    metrics.search("hybrid", 0.004)
    metrics.connection_refused("late")
    metrics.outbox_pending.set(3)

    value = metrics.registry.get_sample_value
    assert (
        value(
            "devops_mcp_http_requests_total",
            {"method": "GET", "route": "/api/v1/tools/{name}", "status": "200"},
        )
        == 1
    )
    assert value("devops_mcp_webhooks_total", {"system": "github", "outcome": "accepted"}) == 1
    assert value("devops_mcp_tool_calls_total", {"tool": "github_pr_read", "outcome": "ok"}) == 1
    assert value("devops_mcp_tool_call_seconds_sum", {"tool": "github_pr_read"}) == 0.2
    assert value("devops_mcp_queue_messages_total", {"queue": "events", "outcome": "done"}) == 1
    assert value("devops_mcp_search_seconds_count", {"mode": "hybrid"}) == 1
    assert value("devops_mcp_connections_refused_total", {"reason": "late"}) == 1
    assert b"devops_mcp_outbox_pending 3.0" in metrics.render()


def test_a_label_without_end_is_counted_as_other() -> None:
    metrics = Metrics(max_label_values=10)

    for number in range(1_000):
        metrics.http_request("GET", f"/path/{number}", 200, 0.001)
        metrics.tool_call(f"tool_{number}", "ok", 0.001)
    metrics.http_request("BREW", "/path/0", 200, 0.001)

    value = metrics.registry.get_sample_value
    assert (
        value("devops_mcp_http_requests_total", {"method": "GET", "route": "other", "status": "200"}) == 990
    )
    assert value("devops_mcp_tool_calls_total", {"tool": "other", "outcome": "ok"}) == 990
    assert (
        value("devops_mcp_http_requests_total", {"method": "other", "route": "/path/0", "status": "200"}) == 1
    )


def test_two_processes_worth_of_metrics_live_side_by_side() -> None:
    first, second = Metrics(), Metrics()

    first.search("lexical", 0.1)

    assert second.registry.get_sample_value("devops_mcp_search_seconds_count", {"mode": "lexical"}) is None
