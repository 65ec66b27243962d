"""Our client of the queues, against our own queue server."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from starlette.responses import JSONResponse

from devops_mcp.embedded.ports import LOOPBACK, free_port
from devops_mcp.events.connection import open_sqs
from devops_mcp.events.provisioning import create_queues
from devops_mcp.events.queues import QueueName, QueueSpec
from devops_mcp.events.sqs import BATCH, Depth, Outgoing, Received, SqsQueue, open_queues
from devops_mcp.models.errors import ConfigurationError, InvalidInput, Unavailable
from support.servers import Answers, hang, serve, serve_bytes
from support.sqs_conformance import reach_the_server
from support.sqs_server import SqsServer

SPEC = QueueSpec(QueueName.EVENTS, visibility_timeout=timedelta(seconds=30), max_receives=2)
FIFO = replace(SPEC, name=QueueName.EMBEDDINGS, fifo=True)
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SqsServer]:
    server = SqsServer(tmp_path_factory.mktemp("sqs"))
    await server.start()
    yield server
    server.stop()


@asynccontextmanager
async def opened(
    url: str, prefix: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Mapping[QueueName, SqsQueue]]:
    async with open_queues(
        endpoint_url=url,
        region="eu-west-1",
        prefix=prefix,
        specs=[SPEC, FIFO],
        environment=environment or {},
    ) as queues:
        yield queues


@pytest.fixture
def prefix() -> str:
    return f"t{uuid4().hex[:12]}-"


@pytest_asyncio.fixture(loop_scope="module")
async def queues(server: SqsServer, prefix: str) -> AsyncIterator[Mapping[QueueName, SqsQueue]]:
    await create_queues(server.url, prefix=prefix, specs=[SPEC, FIFO])
    async with opened(server.url, prefix) as queues:
        yield queues


@pytest_asyncio.fixture(loop_scope="module")
async def sqs(server: SqsServer) -> AsyncIterator[Any]:
    """A client besides the one under test."""
    async with open_sqs(endpoint_url=server.url, region="us-east-1", environment={}) as client:
        yield client


@pytest.fixture
def queue(queues: Mapping[QueueName, SqsQueue]) -> SqsQueue:
    return queues[QueueName.EVENTS]


async def receive_all(queue: SqsQueue) -> list[Received]:
    received: list[Received] = []
    while batch := await queue.receive(wait_s=0):
        received += batch
    return received


async def test_a_message_comes_as_it_was_sent_with_its_trace(queue: SqsQueue):
    before = datetime.now(UTC) - timedelta(seconds=1)

    assert await queue.send_batch([Outgoing("grüße", TRACEPARENT, {"kind": "test"})]) == {}

    (received,) = await queue.receive()
    assert received.body == "grüße"
    assert received.traceparent == TRACEPARENT
    assert received.carrier == {"traceparent": TRACEPARENT}
    assert received.attributes == {"kind": "test", "traceparent": TRACEPARENT}
    assert received.attempt == 1
    assert before < received.sent_at < datetime.now(UTC) + timedelta(seconds=1)


async def test_neither_a_body_nor_a_receipt_shows_in_a_message_that_is_printed(queue: SqsQueue):
    """K01."""
    outgoing = Outgoing("canary-secret")
    await queue.send_batch([outgoing])
    (received,) = await queue.receive()

    assert "canary-secret" not in repr(outgoing) + repr(received)
    assert received.receipt not in repr(received)


async def test_any_number_of_messages_is_sent_received_and_deleted(queue: SqsQueue):
    bodies = [str(n) for n in range(25)]

    assert await queue.send_batch([Outgoing(body) for body in bodies]) == {}

    received = await receive_all(queue)
    assert sorted(message.body for message in received) == sorted(bodies)
    assert await queue.depth() == Depth(ready=0, in_flight=25, delayed=0)
    assert await queue.delete_batch([message.receipt for message in received]) == []
    assert await queue.depth() == Depth(ready=0, in_flight=0, delayed=0)


async def test_large_messages_are_sent_in_requests_that_any_sqs_takes(queue: SqsQueue):
    large = "x" * 200_000

    assert await queue.send_batch([Outgoing(large) for _ in range(3)]) == {}

    assert [len(message.body) for message in await receive_all(queue)] == [200_000] * 3


async def test_messages_that_the_queue_does_not_take_are_named_by_position(queue: SqsQueue):
    refused = await queue.send_batch(
        [Outgoing("good"), Outgoing("\x00"), Outgoing("also good"), Outgoing("")]
    )

    assert sorted(refused) == [1, 3]
    assert all(isinstance(error, InvalidInput) for error in refused.values())
    assert sorted(message.body for message in await receive_all(queue)) == ["also good", "good"]


async def test_a_request_that_fails_among_others_fails_with_its_messages_only(queue: SqsQueue):
    too_large = [Outgoing("x" * 1_048_577)]

    refused = await queue.send_batch([*too_large, *(Outgoing(str(n)) for n in range(3))])

    assert sorted(refused) == [0]
    assert len(await receive_all(queue)) == 3


async def test_a_delayed_message_comes_when_its_time_has_come(queue: SqsQueue):
    await queue.send_batch([Outgoing("late", delay_s=1), Outgoing("now")])

    assert [message.body for message in await queue.receive(wait_s=0)] == ["now"]
    assert [message.body for message in await queue.receive(wait_s=5)] == ["late"]


async def test_messages_given_back_come_again_and_lost_leases_are_named(queue: SqsQueue):
    await queue.send_batch([Outgoing("1"), Outgoing("2")])
    one, two = await queue.receive()
    await queue.delete_batch([two.receipt])

    assert await queue.change_visibility_batch([one.receipt, two.receipt], 0) == [two.receipt]

    (again,) = await queue.receive()
    assert (again.message_id, again.attempt) == (one.message_id, 2)
    assert await queue.delete_batch([again.receipt, "junk"]) == ["junk"]


async def test_a_fifo_queue_keeps_the_order_over_several_requests(queues: Mapping[QueueName, SqsQueue]):
    queue = queues[QueueName.EMBEDDINGS]
    bodies = [f"{n:03}" for n in range(35)]

    await queue.send_batch([Outgoing(body, group="a", deduplication_id=body) for body in bodies])

    received: list[str] = []
    while batch := await queue.receive(wait_s=0):
        received += [message.body for message in batch]
        await queue.delete_batch([message.receipt for message in batch])
    assert received == bodies


async def test_nothing_overtakes_a_fifo_message_that_was_not_sent(queues: Mapping[QueueName, SqsQueue]):
    queue = queues[QueueName.EMBEDDINGS]
    messages = [Outgoing(str(n), group="a", deduplication_id=str(n)) for n in range(BATCH)]
    broken = replace(messages[-1], group=None)

    refused = await queue.send_batch([*messages[:-1], broken, *(replace(m, body="after") for m in messages)])

    assert sorted(refused) == list(range(BATCH - 1, 2 * BATCH))
    assert "after" not in [message.body for message in await queue.receive(wait_s=0)]


async def test_how_long_an_answer_may_take_goes_by_the_latest_ones(queue: SqsQueue):
    assert queue.answering_s() == 2.0, "nothing is known yet"
    took = []
    for _ in range(6):
        begun = time.monotonic()
        await queue.receive(wait_s=0)
        took.append(time.monotonic() - begun)
    assert 0.1 <= queue.answering_s() <= min(2.0, max(0.1, 10 * max(took[2:])))


async def test_a_dead_letter_keeps_body_and_trace_and_says_why(queue: SqsQueue, sqs: Any, prefix: str):
    """D12: the neighbours are unaffected."""
    await queue.send_batch([Outgoing("poison", TRACEPARENT), Outgoing("neighbour")])
    poison, neighbour = sorted(await queue.receive(), key=lambda message: message.body, reverse=True)

    await queue.send_to_dead_letters(poison, "not a message of ours:\x00 type")
    await queue.delete_batch([poison.receipt])

    assert await queue.depth(dead_letters=True) == Depth(ready=1, in_flight=0, delayed=0)
    body, attributes = await dead_letter(sqs, prefix)
    assert body == "poison"
    assert attributes == {
        "traceparent": TRACEPARENT,
        "dead_letter_reason": "not a message of ours:\N{REPLACEMENT CHARACTER} type",
        "dead_letter_message_id": poison.message_id,
        "dead_letter_attempt": "1",
    }
    assert await queue.change_visibility_batch([neighbour.receipt], 0) == []


async def test_a_message_with_every_attribute_taken_can_still_be_buried(
    queue: SqsQueue, sqs: Any, prefix: str
):
    full = {f"a{n}": "x" for n in range(9)}
    await queue.send_batch([Outgoing("x", TRACEPARENT, full)])
    (received,) = await queue.receive()

    await queue.send_to_dead_letters(received, "")

    _, attributes = await dead_letter(sqs, prefix)
    assert len(attributes) == 10
    assert attributes["traceparent"] == TRACEPARENT
    assert attributes["dead_letter_reason"] == "unknown"


async def dead_letter(sqs: Any, prefix: str) -> tuple[str, dict[str, str]]:
    """The one dead letter's body and attributes."""
    url = (await sqs.get_queue_url(QueueName=SPEC.dead_letter_queue(prefix)))["QueueUrl"]
    answer = await sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
    (letter,) = answer["Messages"]
    return letter["Body"], {k: v["StringValue"] for k, v in letter["MessageAttributes"].items()}


async def test_creating_the_queues_again_keeps_messages_and_takes_new_times(
    server: SqsServer, queue: SqsQueue, sqs: Any, prefix: str
):
    await queue.send_batch([Outgoing("x")])
    longer = replace(SPEC, visibility_timeout=timedelta(seconds=45), max_receives=7)

    await create_queues(server.url, prefix=prefix, specs=[longer])
    await create_queues(server.url, prefix=prefix, specs=[longer])

    url = (await sqs.get_queue_url(QueueName=SPEC.queue(prefix)))["QueueUrl"]
    answer = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    assert answer["Attributes"]["VisibilityTimeout"] == "45"
    assert '"maxReceiveCount": 7' in answer["Attributes"]["RedrivePolicy"]
    assert await queue.depth() == Depth(ready=1, in_flight=0, delayed=0)


async def test_a_message_received_too_often_reaches_the_dead_letters_by_itself(queue: SqsQueue):
    await queue.send_batch([Outgoing("x")])
    for _ in range(SPEC.max_receives):
        (received,) = await queue.receive(wait_s=0)
        await queue.change_visibility_batch([received.receipt], 0)

    assert await queue.receive(wait_s=0) == []
    assert (await queue.depth(dead_letters=True)).ready == 1


async def test_a_receive_that_is_cancelled_takes_no_message(queue: SqsQueue):
    waiting = asyncio.create_task(queue.receive())
    await reach_the_server(queue)
    waiting.cancel()
    await asyncio.wait([waiting])
    await reach_the_server(queue)

    await queue.send_batch([Outgoing("x")])

    assert [message.attempt for message in await queue.receive(wait_s=5)] == [1]


# When the service is not there, or not ours


async def test_a_queue_that_does_not_exist_is_an_outage_until_it_is_created(server: SqsServer):
    async with opened(server.url, "later-") as queues:
        queue = queues[QueueName.EVENTS]
        with pytest.raises(Unavailable, match="later-events does not exist"):
            await queue.ping()
        with pytest.raises(Unavailable, match="later-events does not exist"):
            await queue.send_batch([Outgoing("x")])

        await create_queues(server.url, prefix="later-", specs=[SPEC])

        await queue.ping()
        assert await queue.send_batch([Outgoing("x")]) == {}


async def test_a_service_that_is_down_is_unavailable():
    async with opened(f"http://{LOOPBACK}:{free_port()}", "x-") as queues:
        with pytest.raises(Unavailable, match="cannot be reached") as down:
            await queues[QueueName.EVENTS].receive(wait_s=0)
        assert down.value.retryable


async def test_a_service_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("devops_mcp.events.sqs._CALL_S", 0.2)
    async with serve_bytes(hang) as url, opened(url, "x-") as queues:
        with pytest.raises(Unavailable, match="did not answer in time"):
            await queues[QueueName.EVENTS].depth()


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        (403, "AccessDeniedException", ConfigurationError),
        (400, "InvalidClientTokenId", ConfigurationError),
        (400, "RequestThrottled", Unavailable),
        (503, "ServiceUnavailable", Unavailable),
        (400, "InvalidSecurity", InvalidInput),
    ],
)
async def test_what_the_service_answers_is_said_in_our_words(status: int, kind: str, error: type[Exception]):
    answer = JSONResponse({"__type": f"com.amazonaws.sqs#{kind}", "message": "no"}, status)
    async with serve(Answers(answer)) as url, opened(url, "x-") as queues:
        with pytest.raises(error, match=kind):
            await queues[QueueName.EVENTS].ping()


async def test_an_own_endpoint_needs_no_credentials_and_aws_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    answers = Answers(JSONResponse({"QueueUrl": "http://x/1/x-events"}))

    async with serve(answers) as url, opened(url, "x-") as queues:
        await queues[QueueName.EVENTS].ping()
    assert "Credential=local/" in answers.requests[0].headers["authorization"]

    async with open_queues(endpoint_url=None, region="us-east-1", prefix="", environment={}) as queues:
        with pytest.raises(ConfigurationError, match="no credentials"):
            await queues[QueueName.EVENTS].ping()


async def test_credentials_of_the_environment_are_used_where_there_are_any(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    answers = Answers(JSONResponse({"QueueUrl": "http://x/1/x-events"}))

    async with serve(answers) as url, opened(url, "x-", {"AWS_ACCESS_KEY_ID": "mine"}) as queues:
        await queues[QueueName.EVENTS].ping()

    assert "Credential=mine/" in answers.requests[0].headers["authorization"]


async def test_an_address_that_is_none_is_a_wrong_setting():
    with pytest.raises(ConfigurationError, match="address"):
        async with opened("nonsense", "x-"):
            pass
