"""What there is to query, what is scraped and what fires, by our small Prometheus."""

import pytest

from devops_mcp.adapters.prometheus import ADAPTER
from devops_mcp.models.errors import (
    InvalidInput,
)
from support.prometheus_calls import call

# prometheus_metrics_find, prometheus_labels


async def test_metrics_are_found_with_their_metadata_also_under_a_suffix(client, fake):
    result = await call(client, "metrics_find", name="shop.*", labels={"job": 'a"b'})

    assert result["items"] == [
        {"name": "shop_orders_total", "type": "counter", "help": "Orders taken."},
        {
            "name": "shop_request_seconds_bucket",
            "type": "histogram",
            "help": "Time of a request.",
            "unit": "seconds",
        },
        {
            "name": "shop_request_seconds_count",
            "type": "histogram",
            "help": "Time of a request.",
            "unit": "seconds",
        },
    ]
    assert fake.requests[0][2]["match[]"] == ['{job="a\\"b",__name__=~"(?i:.*(?:shop.*).*)",__name__!=""}']


async def test_without_a_name_all_metrics_are_listed_page_by_page(client, fake):
    first = await call(client, "metrics_find", limit=4)
    second = await call(client, "metrics_find", limit=4, cursor=first["next_cursor"])

    assert first["total"] == 6
    assert [item["name"] for item in first["items"] + second["items"]] == sorted(
        [
            "ALERTS",
            "go_goroutines",
            "shop_orders_total",
            "shop_request_seconds_bucket",
            "shop_request_seconds_count",
            "up",
        ]
    )
    assert "next_cursor" not in second
    assert "match[]" not in fake.requests[0][2]


async def test_a_cursor_that_is_not_ours_is_refused(client):
    for cursor in ("x", "-1", "²", "1e3", "9" * 30):
        with pytest.raises(InvalidInput, match="cursor"):
            await call(client, "metrics_find", cursor=cursor)


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        ({"action": "names"}, "__name__"),
        ({"action": "values", "label": "job"}, "gone"),
        ({"action": "series", "match": ["up"]}, {"__name__": "up", "instance": "127.0.0.1:9", "job": "gone"}),
    ],
)
async def test_labels_are_listed_by_action(client, arguments, first):
    result = await call(client, "labels", **arguments)

    assert (result["items"][0], result["total"]) == (first, 3)


async def test_all_selectors_and_the_time_range_are_passed_on(client, fake):
    await call(client, "labels", action="series", match=["up", 'x{a="b"}'], start="-1h")

    given = fake.requests[0][2]
    assert given["match[]"] == ["up", 'x{a="b"}']
    assert given["start"] == ["1795210460.000"]
    assert "end" not in given


@pytest.mark.parametrize(
    "arguments",
    [
        {"action": "series"},
        {"action": "values"},
        {"action": "values", "label": "a/b"},
        {"action": "names", "label": "job"},
    ],
)
def test_an_action_is_given_what_it_needs_and_nothing_else(arguments):
    """I11"""
    tool = next(tool for tool in ADAPTER.tools if tool.name == "prometheus_labels")
    with pytest.raises(ValueError, match=r"needs|take|pattern"):
        tool.params(**arguments)


# prometheus_targets, prometheus_rules, prometheus_alerts


async def test_targets_that_are_down_come_first_with_their_error(client):
    result = await call(client, "targets")

    assert [item["health"] for item in result["items"]] == ["down", "up", "up"]
    assert "connection refused" in result["items"][0]["error"]
    assert "error" not in result["items"][1]
    assert (result["health"], result["dropped"], result["total"]) == ({"down": 1, "up": 2}, 1, 3)


async def test_targets_are_chosen_by_health_job_and_state(client):
    up = await call(client, "targets", health="up", job="shop")
    dropped = await call(client, "targets", state="dropped")

    assert [item["job"] for item in up["items"]] == ["shop"]
    assert up["health"] == {"down": 1, "up": 2}
    assert dropped["items"] == [
        {"job": "unwanted", "instance": "127.0.0.1:7", "health": "dropped", "labels": {"__scheme__": "http"}}
    ]


async def test_rules_that_fail_come_first_then_those_that_fire(client):
    result = await call(client, "rules")

    assert [item["name"] for item in result["items"]] == [
        "broken",
        "AlwaysFiring",
        "NeverFiring",
        "job:up:sum",
    ]
    assert result["items"][0]["error"].startswith("vector contains")
    assert (result["items"][1]["state"], result["items"][1]["active"]) == ("firing", 1)
    assert "state" not in result["items"][3]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"type": "record"}, ["broken", "job:up:sum"]),
        ({"state": "firing"}, ["AlwaysFiring"]),
        ({"name": "FIRING"}, ["AlwaysFiring", "NeverFiring"]),
        ({"group": "other"}, []),
    ],
)
async def test_rules_are_chosen_by_type_state_name_and_group(client, arguments, names):
    assert [item["name"] for item in (await call(client, "rules", **arguments))["items"]] == names


async def test_alerts_say_what_fires_since_when_and_why(client):
    result = await call(client, "alerts")

    assert result["items"] == [
        {
            "name": "AlwaysFiring",
            "state": "firing",
            "since": "2026-11-20T22:34:15.568674523Z",
            "value": 1,
            "labels": {"severity": "page"},
            "annotations": {"summary": "always"},
        }
    ]


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ({"labels": {"severity": "page"}}, 1),
        ({"labels": {"severity": "info"}}, 0),
        ({"state": "pending"}, 0),
        ({"name": "Other"}, 0),
    ],
)
async def test_alerts_are_chosen_by_labels_state_and_name(client, arguments, count):
    assert (await call(client, "alerts", **arguments))["total"] == count
