"""The tools against the real Prometheus of Debian's package, and our small one held to its shapes."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest

from devops_mcp.adapters.base import Origin, Outside
from devops_mcp.adapters.polls import Poll
from devops_mcp.adapters.prometheus import ADAPTER
from devops_mcp.adapters.prometheus.client import Prometheus
from devops_mcp.adapters.prometheus.config import PrometheusSettings
from devops_mcp.models.base import utc_now
from devops_mcp.models.errors import UpstreamRejected
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from support.json_shapes import shape_of
from support.prometheus_calls import call
from support.prometheus_fake import PrometheusFake
from support.prometheus_real import TRACE_ID, RealPrometheus, running_prometheus, wait_until
from support.servers import LOOPBACK, serve
from support.upstreams import ONCE, quick

pytestmark = pytest.mark.systems

MAPS = ("metric", "labels", "annotations", "discoveredLabels", "seriesLabels")
"""Objects whose keys are names that people chose."""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealPrometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    with running_prometheus(folder, "--web.enable-admin-api", "--enable-feature=exemplar-storage") as running:
        yield running


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealPrometheus]:
    """One without the admin API."""
    with running_prometheus(tmp_path_factory.mktemp("closed")) as running:
        yield running


@pytest.fixture
async def client(real: RealPrometheus) -> AsyncIterator[Prometheus]:
    outside = Outside(private_networks=LOOPBACK, policies=quick(retry=ONCE))
    async with ADAPTER.connect(PrometheusSettings(base_url=real.url), outside) as connection:
        yield connection


async def test_it_answers_a_ping_with_its_version(client):
    version = await ADAPTER.ping(client)

    assert version
    assert version.startswith("2.")


async def test_a_query_gives_current_values(client):
    result = await call(client, "query", query="up")

    assert {series["labels"]["job"]: series["value"] for series in result["series"]} == {
        "gone": 0,
        "prometheus": 1,
        "shop": 1,
    }
    assert result["shared_labels"] == {"__name__": "up"}


async def test_values_that_are_no_numbers_are_words(client):
    result = await call(client, "query", query="up / 0")

    assert sorted(series["value"] for series in result["series"]) == ["+Inf", "+Inf", "NaN"]


@pytest.mark.parametrize(("query", "kind"), [("1", "scalar"), ('"s"', "string")])
async def test_single_values(client, query, kind):
    assert (await call(client, "query", query=query))["type"] == kind


async def test_a_range_selector_is_summarised(client):
    result = await call(client, "query", query='up{job="shop"}[5s]')

    assert result["type"] == "matrix"
    assert result["series"][0]["summary"]["max"] == 1


async def test_few_values_over_time_are_listed(client):
    result = await call(client, "query_range", query='up{job="shop"}', start="-4s", step="1s")

    assert result["steps"] == 5
    assert result["series"][0]["values"][-1] == 1


async def test_many_values_over_time_are_summarised(client):
    result = await call(client, "query_range", query="shop_many", start="-10m", max_points=60)

    assert (result["total"], len(result["series"])) == (120, 20)
    summary = result["series"][3]["summary"]
    assert (summary["min"], summary["max"], summary["avg"], summary["last"]) == (3, 3, 3, 3)
    assert summary["missing"] > 0
    assert summary["sparkline"].startswith(" ")
    assert len(json.dumps(result)) < 12_000


async def test_a_series_that_went_away_is_said_to_have_ended(client, real):
    wait_until(lambda: real.count("shop_gone") == 1)
    real.shop.forget()
    wait_until(lambda: real.count("shop_gone") == 0)

    result = await call(client, "query_range", query="shop_gone", start="-1m", step="1s", max_points=2)

    assert result["series"][0]["summary"]["ended"] is True
    assert (await call(client, "query", query="shop_gone"))["note"].startswith("no series matched")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sum(", "unclosed left parenthesis"),
        ("rate(up)", "expected type range vector"),
        ("up + on(nothing) up", "many-to-many matching|duplicate series"),
        ('up{job=~"("}', "error parsing regexp"),
    ],
)
async def test_a_query_that_is_wrong_is_rejected_in_its_words(client, query, said):
    with pytest.raises(UpstreamRejected, match=said):
        await call(client, "query", query=query)


async def test_a_query_that_prometheus_gives_up_is_rejected_not_an_outage(client):
    with pytest.raises(UpstreamRejected, match="gave up on the query: query timed out"):
        await client.ask("query", {"query": "up", "timeout": "0ms"})


async def test_metrics_are_found_with_their_metadata(client):
    result = await call(client, "metrics_find", name="SHOP_(orders|request)", labels={"job": "shop"})

    found = {item["name"]: item for item in result["items"]}
    assert found["shop_orders_total"]["type"] == "counter"
    assert found["shop_request_seconds_bucket"]["type"] == "histogram"
    assert found["shop_request_seconds_bucket"]["unit"] == "seconds"
    assert result["total"] == len(found) == 4


@pytest.mark.parametrize("name", [".*", "", "up|", 'a"b', "\\d", "x{2}"])
async def test_any_regular_expression_finds_its_way_into_the_selector(client, name):
    assert (await call(client, "metrics_find", name=name or None))["total"] >= 0


async def test_labels_values_and_series(client):
    names = await call(client, "labels", action="names", match=["up"])
    values = await call(client, "labels", action="values", label="job", start="-1h", end="now")
    series = await call(client, "labels", action="series", match=['up{job="shop"}', 'up{job="gone"}'])

    assert names["items"] == ["__name__", "instance", "job"]
    assert set(values["items"]) >= {"gone", "prometheus", "shop"}
    assert {labels["job"] for labels in series["items"]} == {"gone", "shop"}


async def test_the_target_that_is_down_comes_first(client):
    result = await call(client, "targets")

    assert [item["job"] for item in result["items"]] == ["gone", "prometheus", "shop"]
    assert "connection refused" in result["items"][0]["error"]
    assert (result["health"], result["dropped"]) == ({"down": 1, "up": 2}, 1)


async def test_targets_that_were_dropped_say_where_they_came_from(client):
    assert (await call(client, "targets", state="dropped"))["items"][0]["job"] == "unwanted"


async def test_rules_with_what_fails_first(client):
    result = await call(client, "rules")

    assert [item["name"] for item in result["items"]] == [
        "broken",
        "AlwaysFiring",
        "NeverFiring",
        "job:up:sum",
    ]
    assert "labelset" in result["items"][0]["error"]
    only = await call(client, "rules", type="record")
    assert {item["type"] for item in only["items"]} == {"record"}


async def test_the_alert_that_fires(client):
    item = (await call(client, "alerts"))["items"][0]

    assert (item["name"], item["state"], item["value"]) == ("AlwaysFiring", "firing", 1)
    assert (item["labels"], item["annotations"]) == ({"severity": "page"}, {"summary": "always"})


async def test_an_exemplar_leads_to_its_trace(client, real):
    query = "shop_request_seconds_bucket"
    wait_until(lambda: bool(real.ask("query_exemplars", query=query, start="0", end="9999999999")))

    result = await call(client, "exemplars", query=query)

    assert result["items"][0]["labels"] == {"trace_id": TRACE_ID}
    assert result["items"][0]["value"] == 0.67


async def test_a_query_is_checked_as_far_as_this_version_can(client):
    good = await call(client, "query_check", query="sum(up)by(job)")
    bad = await call(client, "query_check", query="sum(up by job")

    assert (good["valid"], good["formatted"]) == (True, "sum by (job) (up)")
    assert "no parse_query" in good["note"]
    assert bad["valid"] is False
    assert "parse error" in bad["error"]


async def test_it_tells_about_itself(client):
    overview = (await call(client, "status"))["data"]
    flags = (await call(client, "status", section="flags"))["data"]
    config = (await call(client, "status", section="config"))["data"]
    cardinality = (await call(client, "status", section="cardinality", limit=3))["data"]

    assert overview["runtime"]["reloadConfigSuccess"] is True
    assert flags["web.enable-admin-api"] == "true"
    assert "job_name: shop" in config["yaml"]
    assert {"name": "shop_many", "value": 120} in cardinality["seriesCountByMetricName"]
    assert len(cardinality["seriesCountByMetricName"]) == 3


async def test_a_snapshot_lands_on_disk_but_not_from_a_dry_run(client, real):
    def snapshots() -> set[str]:
        return {folder.name for folder in real.folder.glob("data/snapshots/*")}

    before = snapshots()
    await call(client, "snapshot", dry_run=True)
    assert snapshots() == before

    result = await call(client, "snapshot")

    assert snapshots() - before == {result["data"]["name"]}


@pytest.mark.parametrize("dry_run", [True, False])
async def test_without_the_admin_api_it_says_which_flag_is_missing(closed, dry_run):
    outside = Outside(private_networks=LOOPBACK, policies=quick(retry=ONCE))
    async with ADAPTER.connect(PrometheusSettings(base_url=closed.url), outside) as client:
        with pytest.raises(UpstreamRejected, match=r"--web\.enable-admin-api"):
            await call(client, "snapshot", dry_run=dry_run)


async def test_its_alerts_are_polled(real, client):
    [poller] = ADAPTER.pollers
    first = await poller.fetch(client, Poll(Origin(DEFAULT_TENANT_ID, "real"), {}, utc_now()))
    second = await poller.fetch(client, Poll(Origin(DEFAULT_TENANT_ID, "real"), first.cursor, utc_now()))

    assert [(one.event.type, one.event.subject, one.event.summary) for one in first.found] == [
        ("alert.fired", "AlwaysFiring", "always")
    ]
    assert second.found == []


# Our small Prometheus, held to the real one's shapes.

REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "query", {"query": "up"}),
    ("GET", "query", {"query": "up"}),
    ("POST", "query", {"query": "up * NaN"}),
    ("POST", "query", {"query": "up / 0"}),
    ("POST", "query", {"query": "vector(1)"}),
    ("POST", "query", {"query": "shop_many"}),
    ("POST", "query", {"query": "nothing"}),
    ("POST", "query", {"query": "1"}),
    ("POST", "query", {"query": '"s"'}),
    ("POST", "query", {"query": "up[5s]"}),
    ("POST", "query", {"query": "sum("}),
    (
        "POST",
        "query_range",
        {"query": "vector(1)", "start": "1795214000", "end": "1795214060.5", "step": "5"},
    ),
    ("POST", "query", {"query": "costly", "timeout": "0ms"}),
    ("POST", "query_range", {"query": "sum(", "start": "1795214000", "end": "1795214060", "step": "5"}),
    ("POST", "format_query", {"query": "sum(up)"}),
    ("POST", "format_query", {"query": "sum("}),
    ("POST", "parse_query", {"query": "up"}),
    ("POST", "query_exemplars", {"query": "shop_request_seconds_bucket", "start": "0", "end": "9999999999"}),
    ("POST", "query_exemplars", {"query": "up", "start": "0", "end": "9999999999"}),
    ("POST", "series", {"match[]": "up"}),
    ("POST", "series", {}),
    ("POST", "labels", {"match[]": "up"}),
    ("GET", "label/job/values", {}),
    ("GET", "label/__name__/values", {"match[]": '{__name__=~"shop.*"}'}),
    ("GET", "metadata", {"limit_per_metric": "1"}),
    ("GET", "targets", {"state": "any"}),
    ("GET", "rules", {}),
    ("GET", "rules", {"type": "record"}),
    ("GET", "rules", {"type": "alert"}),
    ("GET", "alerts", {}),
    ("GET", "status/buildinfo", {}),
    ("GET", "status/runtimeinfo", {}),
    ("GET", "status/walreplay", {}),
    ("GET", "status/flags", {}),
    ("GET", "status/config", {}),
    ("GET", "status/tsdb", {"limit": "3"}),
    ("GET", "status/nothing", {}),
    ("POST", "admin/tsdb/snapshot", {}),
]
DATA_IS_MAP = ("metadata", "status/flags")


@pytest.mark.parametrize(("method", "path", "arguments"), REQUESTS)
async def test_our_small_prometheus_answers_in_the_real_ones_shapes(real, method, path, arguments):
    maps = (*MAPS, "data") if path in DATA_IS_MAP else MAPS
    async with serve(PrometheusFake().app) as fake_url:
        theirs = await answer(real.url, method, path, arguments, maps)
        ours = await answer(fake_url, method, path, arguments, maps)

    assert ours == theirs


async def test_our_small_prometheus_refuses_snapshots_as_the_real_one_does(closed):
    async with serve(PrometheusFake(admin=False).app) as fake_url:
        theirs = await answer(closed.url, "POST", "admin/tsdb/snapshot", {}, MAPS)
        ours = await answer(fake_url, "POST", "admin/tsdb/snapshot", {}, MAPS)

    assert ours == theirs


async def answer(url: str, method: str, path: str, arguments: dict[str, Any], maps: tuple[str, ...]) -> Any:
    """Status, type and shape of an answer."""
    given = {"data": arguments} if method == "POST" else {"params": arguments}
    async with httpx2.AsyncClient(timeout=60) as http:
        reply = await http.request(method, f"{url}/api/v1/{path}", **given)
    kind = reply.headers["content-type"].partition(";")[0]
    shape = shape_of(reply.json(), maps) if kind == "application/json" else reply.text
    return reply.status_code, kind, shape
