"""PromQL against our small Prometheus, whose answers have the real one's shapes (see tests/systems)."""

import contextlib

import pytest
from starlette.responses import JSONResponse, PlainTextResponse

from devops_mcp.adapters.prometheus import ADAPTER
from devops_mcp.models.errors import (
    InvalidInput,
    UpstreamInvalid,
    UpstreamNotFound,
    UpstreamRejected,
    UpstreamUnavailable,
)
from support.prometheus_calls import call, connected
from support.servers import Answers
from support.upstreams import CANARY

# prometheus_query


async def test_a_vector_comes_with_shared_labels_said_once(client):
    result = await call(client, "query", query="shop_many", limit=3)

    assert (result["type"], result["at"], result["total"]) == ("vector", "2026-11-20T22:34:20Z", 120)
    assert result["shared_labels"] == {"__name__": "shop_many", "job": "shop"}
    assert result["series"][1] == {"labels": {"pod": "pod-001"}, "value": 1}
    assert result["note"] == "3 of 120 series shown; aggregate, filter or use topk()"


async def test_a_query_is_sent_as_a_form_with_its_moment_and_a_timeout(client, fake):
    await call(client, "query", query="up", time="-5m")

    method, path, given = fake.requests[0]
    assert (method, path) == ("POST", "/api/v1/query")
    assert given == {"query": ["up"], "time": ["1795213760.000"], "timeout": ["9000ms"]}


async def test_a_proxy_that_lets_only_get_through_is_given_get(fake):
    async with connected(fake.app, query_method="GET") as client:
        assert (await call(client, "query", query="up"))["total"] == 3

    assert fake.requests[0][0] == "GET"


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("up", [0, 1, 1]),
        ("up * NaN", ["NaN", "NaN", "NaN"]),
        ("up / 0", ["NaN", "+Inf", "+Inf"]),
        ("vector(1)", [1]),
    ],
)
async def test_what_is_not_a_number_is_shown_as_the_word_it_is(client, query, values):
    result = await call(client, "query", query=query)

    assert [series["value"] for series in result["series"]] == values


@pytest.mark.parametrize(("query", "kind", "value"), [("1", "scalar", 1), ('"s"', "string", "s")])
async def test_a_single_value_is_shown_as_such(client, query, kind, value):
    result = await call(client, "query", query=query)

    assert (result["type"], result["value"], result["series"]) == (kind, value, [])


async def test_a_range_selector_shows_its_newest_samples_and_a_summary(client):
    series = (await call(client, "query", query="up[5s]"))["series"][0]

    assert [value for _, value in series["samples"]] == [1, 1, 1, 1]
    assert (series["summary"]["samples"], series["summary"]["sparkline"]) == (4, "▄▄▄▄")


async def test_a_native_histogram_is_shown_without_its_buckets(client):
    series = (await call(client, "query", query="shop_native"))["series"][0]

    assert series["histogram"] == {"count": 10, "sum": 3.2, "buckets": 2}
    assert "value" not in series


async def test_an_empty_result_says_what_to_try(client):
    result = await call(client, "query", query="nothing")

    assert result["total"] == 0
    assert "prometheus_metrics_find" in result["note"]


# prometheus_query_range


async def test_few_values_come_as_they_are_one_a_step_with_null_for_gaps(client):
    result = await call(client, "query_range", query="shop_gappy", start="-1m", end="now", step="10s")

    assert (result["start"], result["step_s"], result["steps"]) == ("2026-11-20T22:33:20Z", 10, 7)
    assert result["series"] == [
        {"labels": {"__name__": "shop_gappy"}, "values": [20, None, None, None, 0, 10, 20]}
    ]


async def test_above_the_budget_series_are_summarised_and_never_listed(client):
    result = await call(client, "query_range", query="shop_many", start="-1h", max_points=60, limit=20)

    assert (result["step_s"], result["steps"], result["total"], len(result["series"])) == (120, 31, 120, 20)
    summary = result["series"][7]["summary"]
    assert (summary["min"], summary["max"], summary["avg"], summary["last"]) == (7, 7, 7, 7)
    assert summary["sparkline"] == "▄" * 31
    assert "missing" not in summary
    assert not any("values" in series for series in result["series"])


async def test_a_series_that_ended_is_said_to_have_ended(client):
    result = await call(
        client, "query_range", query="shop_gappy", start="-20s", end="+20s", step="5s", max_points=2
    )

    summary = result["series"][0]["summary"]
    assert (summary["samples"], summary["missing"], summary["ended"]) == (6, 3, True)
    assert summary["last_at"] == "2026-11-20T22:34:25Z"
    assert summary["sparkline"].endswith(" ")


@pytest.mark.parametrize(
    ("start", "points", "step"), [("-5m", 240, 2), ("-1h", 240, 30), ("-1d", 240, 600), ("-30d", 100, 43_200)]
)
async def test_the_step_follows_from_the_range_and_the_budget(client, fake, start, points, step):
    result = await call(client, "query_range", query="vector(1)", start=start, max_points=points)

    assert result["step_s"] == step
    assert result["steps"] <= points
    assert float(fake.requests[0][2]["step"][0]) == step


@pytest.mark.parametrize(
    "arguments",
    [
        {"start": "now", "end": "-1h"},
        {"start": "-1y", "step": "1s"},
        {"step": "0"},
        {"start": "soon"},
        {"end": "1795215600000"},
    ],
)
async def test_a_range_that_makes_no_sense_is_refused_without_asking(client, fake, arguments):
    with pytest.raises(InvalidInput):
        await call(client, "query_range", query="up", **arguments)

    assert fake.requests == []


# What Prometheus refuses


@pytest.mark.parametrize("tool", ["query", "query_range"])
@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sum(", "unclosed left parenthesis"),
        ("costly", "query timed out in expression evaluation; narrow its range"),
        ("ambiguous", "found duplicate series"),
    ],
)
async def test_a_query_that_fails_is_rejected_in_prometheus_own_words(client, tool, query, said):
    with pytest.raises(UpstreamRejected, match=said) as caught:
        await call(client, tool, query=query)

    assert not caught.value.retryable


async def test_queries_that_time_out_do_not_close_prometheus_for_others(client):
    """X01"""
    for _ in range(30):
        with pytest.raises(UpstreamRejected):
            await call(client, "query", query="costly")

    assert (await call(client, "query", query="up"))["total"] == 3


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (PlainTextResponse("<html>a login page</html>"), UpstreamInvalid),
        (JSONResponse({"status": "ok"}), UpstreamInvalid),
        (JSONResponse(["status"]), UpstreamInvalid),
        (JSONResponse({"status": "success"}), UpstreamInvalid),
        (JSONResponse({"status": "success", "data": None}), UpstreamInvalid),
        (JSONResponse({"status": "success", "data": []}), UpstreamInvalid),
        (
            JSONResponse({"status": "success", "data": {"resultType": "vector", "result": [1]}}),
            UpstreamInvalid,
        ),
        (
            JSONResponse({"status": "success", "data": {"resultType": "tensor", "result": []}}),
            UpstreamInvalid,
        ),
        (
            JSONResponse({"status": "success", "data": {"resultType": "scalar", "result": [1]}}),
            UpstreamInvalid,
        ),
        (
            JSONResponse({"status": "success", "data": {"resultType": "scalar", "result": [1, "x"]}}),
            UpstreamInvalid,
        ),
        (PlainTextResponse("Service Unavailable", 503), UpstreamUnavailable),
        (PlainTextResponse("404 page not found", 404), UpstreamNotFound),
    ],
)
async def test_an_answer_that_is_not_prometheus_is_an_error_not_a_crash(answer, error):
    async with connected(Answers(answer)) as client:
        with pytest.raises(error):
            await call(client, "query", query="up")


@pytest.mark.parametrize("tool", ADAPTER.tools, ids=lambda tool: tool.name)
async def test_whatever_data_comes_a_tool_answers_or_calls_it_invalid(tool):
    needed = {"query": "up", "action": "names"}
    arguments = {name: value for name, value in needed.items() if name in tool.params.model_fields}
    answers = Answers(PlainTextResponse(""))
    async with connected(answers) as client:
        for data in (None, 1, "x", [], {}, [None], [[]], {"a": 1}, {"groups": [{}]}, {"alerts": [1]}):
            answers.answers = [JSONResponse({"status": "success", "data": data})]
            with contextlib.suppress(UpstreamInvalid):
                assert await tool.run(client, tool.params(**arguments))


async def test_remarks_of_prometheus_travel_with_the_result():
    data = {"resultType": "vector", "result": []}
    answer = JSONResponse(
        {"status": "success", "data": data, "warnings": ["partial"], "infos": ["not a counter"]}
    )
    async with connected(Answers(answer)) as client:
        assert (await call(client, "query", query="up"))["warnings"] == ["partial", "not a counter"]


async def test_credentials_are_sent_and_never_shown(fake):
    """K01"""
    async with connected(fake.app, bearer_token=CANARY, headers={"X-Scope-OrgID": "team-a"}) as client:
        with pytest.raises(UpstreamRejected) as caught:
            await call(client, "query", query="sum(")

    assert CANARY not in repr(caught.value)
    assert fake.headers[0]["authorization"] == f"Bearer {CANARY}"
    assert fake.headers[0]["x-scope-orgid"] == "team-a"
