import asyncio
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from devops_mcp.observability.tracing import beside, carry, continued, spanned, start_tracing

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    shutdown = start_tracing("under-test", "1.2.3", exporter=exporter)
    yield exporter
    shutdown()


def test_outside_any_span_nothing_is_carried() -> None:
    assert carry() == {}


def test_one_trace_spans_webhook_outbox_queue_worker_and_notice(spans: InMemorySpanExporter) -> None:
    with continued(SAMPLED, "POST /webhooks/{system}", SpanKind.SERVER):
        outbox_row = carry()
    with continued(outbox_row, "publish", SpanKind.PRODUCER):
        message = carry()
    with continued(message, "handle", SpanKind.CONSUMER, {"messaging.system": "sqs"}), spanned("notify"):
        pass

    finished = {span.name: span for span in spans.get_finished_spans()}
    assert {format(span.context.trace_id, "032x") for span in finished.values() if span.context} == {TRACE}
    handled, notified = finished["handle"], finished["notify"]
    assert handled.parent is not None
    assert format(handled.parent.span_id, "016x") == message["traceparent"].split("-")[2]
    assert notified.parent is not None
    assert handled.context is not None
    assert notified.parent.span_id == handled.context.span_id
    assert handled.attributes == {"messaging.system": "sqs"}


@pytest.mark.parametrize(
    "value",
    [
        "",
        "garbage",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-extra",
        f"00-{TRACE.upper()}-{PARENT}-01",
    ],
)
def test_an_unreadable_carrier_begins_a_new_trace(spans: InMemorySpanExporter, value: str) -> None:
    with continued({"traceparent": value}, "work"):
        carried = carry()["traceparent"]

    assert TRACE not in carried
    assert carried.split("-")[1] != "0" * 32


def test_the_senders_choice_not_to_sample_is_kept(spans: InMemorySpanExporter) -> None:
    with continued({"traceparent": f"00-{TRACE}-{PARENT}-00"}, "work"):
        carried = carry()["traceparent"]

    assert carried.startswith(f"00-{TRACE}-")
    assert carried.endswith("-00")
    assert spans.get_finished_spans() == ()


def test_without_an_exporter_ids_still_travel() -> None:
    shutdown = start_tracing("under-test", "1.2.3")
    with continued(SAMPLED, "work"):
        carried = carry()["traceparent"]
    shutdown()

    assert carried.startswith(f"00-{TRACE}-")
    assert PARENT not in carried


def test_without_an_exporter_a_span_within_another_is_of_its_trace() -> None:
    with continued(SAMPLED, "work"):
        above = carry()["traceparent"].split("-")
        with spanned("part"):
            below = carry()["traceparent"].split("-")
        assert carry()["traceparent"].split("-") == above

    assert above[1] == below[1] == TRACE
    assert len({PARENT, above[2], below[2]}) == 3
    assert carry() == {}


def test_without_an_exporter_work_for_several_traces_goes_on_in_each() -> None:
    with beside([SAMPLED, {}], "work") as traceparents:
        assert carry()["traceparent"] == traceparents[0]

    known, new = (one.split("-") for one in traceparents)
    assert known[1] == TRACE
    assert new[1] not in (TRACE, "0" * 32)
    assert carry() == {}


def test_a_failed_span_says_the_kind_of_error_and_nothing_of_its_text(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="canary"), continued({}, "work"):
        raise ValueError("canary-secret")

    (span,) = spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "ValueError"
    assert "canary" not in span.to_json()


async def test_spans_of_concurrent_tasks_do_not_mix(spans: InMemorySpanExporter) -> None:
    async def work(name: str, both_in: asyncio.Barrier) -> str:
        with continued({}, name):
            await both_in.wait()
            return carry()["traceparent"].split("-")[1]

    barrier = asyncio.Barrier(2)
    first, second = await asyncio.gather(work("a", barrier), work("b", barrier))

    assert first != second
    assert carry() == {}


def test_after_shutdown_spans_go_to_who_was_there_before(spans: InMemorySpanExporter) -> None:
    inner = InMemorySpanExporter()
    start_tracing("inner", "0", exporter=inner)()

    with continued({}, "work"):
        pass

    assert [span.name for span in spans.get_finished_spans()] == ["work"]
    assert inner.get_finished_spans() == ()
