"""Exemplars, checks, status and snapshots of our small Prometheus."""

import pytest

from devops_mcp.adapters.prometheus import ADAPTER
from devops_mcp.models.errors import (
    UpstreamRejected,
)
from support.prometheus_calls import call, connected
from support.prometheus_fake import TRACE_ID, PrometheusFake

# prometheus_exemplars, prometheus_query_check, prometheus_status, prometheus_snapshot


async def test_exemplars_lead_to_traces_newest_first(client):
    result = await call(client, "exemplars", query="shop_request_seconds_bucket", limit=1)

    assert (result["total"], result["next_cursor"]) == (2, "1")
    assert result["items"][0]["labels"] == {"trace_id": f"2{TRACE_ID[1:]}"}
    assert result["items"][0]["at"] == "2026-11-20T22:33:22.123Z"


async def test_no_exemplars_says_what_could_be_missing(client):
    assert "exemplar-storage" in (await call(client, "exemplars", query="up"))["note"]


async def test_an_older_prometheus_checks_the_syntax_and_we_say_so(client):
    result = await call(client, "query_check", query="sum(up)  by  (job)")

    assert (result["valid"], result["formatted"]) == (True, "sum(up) by (job)")
    assert "no parse_query" in result["note"]
    assert "selectors" not in result


async def test_a_newer_prometheus_tells_what_the_query_selects():
    async with connected(PrometheusFake(version3=True).app) as client:
        result = await call(
            client, "query_check", query='sum by (job) (rate(shop_orders_total{job="shop"}[5m]))'
        )

    assert result["selectors"] == ['shop_orders_total{job="shop"}']
    assert result["functions"] == ["rate", "sum"]
    assert "note" not in result


async def test_a_query_that_is_not_valid_is_a_result_not_an_error(client):
    result = await call(client, "query_check", query="sum(")

    assert result["valid"] is False
    assert "unclosed left parenthesis" in result["error"]


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("overview", "runtime"),
        ("flags", "config.file"),
        ("config", "yaml"),
        ("cardinality", "seriesCountByMetricName"),
    ],
)
async def test_the_server_tells_about_itself(client, section, key):
    result = await call(client, "status", section=section, limit=2)

    assert key in result["data"]
    if section == "cardinality":
        assert [entry["name"] for entry in result["data"][key]] == ["up", "go_goroutines"]


async def test_a_snapshot_is_written_once_and_named(client, fake):
    result = await call(client, "snapshot", skip_head=True)

    assert result["data"] == {"name": "20261120T223415Z-2be650b6d019eb54"}
    assert [(method, given) for method, _, given in fake.requests] == [("POST", {"skip_head": ["true"]})]


async def test_a_dry_run_changes_nothing(client, fake):
    result = await call(client, "snapshot", dry_run=True)

    assert result["dry_run"] is True
    assert all(method == "GET" for method, _, _ in fake.requests)


@pytest.mark.parametrize("dry_run", [True, False])
async def test_without_the_admin_api_a_snapshot_says_which_flag_is_missing(dry_run):
    async with connected(PrometheusFake(admin=False).app) as client:
        with pytest.raises(UpstreamRejected, match=r"--web\.enable-admin-api"):
            await call(client, "snapshot", dry_run=dry_run)


async def test_a_ping_gives_the_version(client):
    assert await ADAPTER.ping(client) == "2.42.0+ds"


async def test_a_ping_of_something_without_buildinfo_asks_whether_it_is_ready(fake):
    fake.app.router.routes[:] = [r for r in fake.app.router.routes if "status" not in r.path]
    async with connected(fake.app) as client:
        assert await ADAPTER.ping(client) is None
