"""The main job through the front door of a running suite: real PostgreSQL, Redis and queue, the three services as processes of their own,
and the stateful GitHub emulator (npm emulate 0.12.2)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import mcp_types as types
import pytest
from mcp import Client

from support.agents import ERAS, HANDSHAKE, agent
from support.github_emulator import TOKEN, run_github_emulator
from support.github_webhooks import REPO, deliver, failed_run, pull_request
from support.suite import Suite, running_suite

EVENTS = f"devops://events/github/{REPO}"
QUESTION = "which pipeline broke on the main branch?"


pytestmark = pytest.mark.xdist_group("main_story")
"""One suite for all of them: each process of pytest-xdist would start its own."""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    with run_github_emulator() as github:
        environment = {"DEVOPS_MCP_DEMO_GITHUB_URL": github, "GITHUB_TOKEN": TOKEN}
        with running_suite(tmp_path_factory.mktemp("suite"), environment) as running:
            yield running


class Listener:
    """An agent that has subscribed to the repository's events; `heard` has each notification's `_meta`."""

    def __init__(self, client: Client, heard: "asyncio.Queue[dict[str, Any]]") -> None:
        self.client = client
        self._heard = heard

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(60):
            return await self._heard.get()


@asynccontextmanager
async def listening_agent(suite: Suite, era: str, transport: str = "ws") -> AsyncIterator[Listener]:
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def on_message(message: object) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            heard.put_nowait(dict(message.params.meta or {}))

    base = str(suite.addresses["mcp_http"]).removesuffix("/mcp")
    key = str(suite.addresses["api_key"])
    async with agent(transport, base, key, era, view="/x/github", message_handler=on_message) as client:
        if era == HANDSHAKE:
            request = types.SubscribeRequest(params=types.SubscribeRequestParams(uri=EVENTS))
            await client.session.send_request(request, types.EmptyResult)
            yield Listener(client, heard)
        else:
            async with client.listen(resource_subscriptions=[EVENTS]):
                yield Listener(client, heard)


async def send(suite: Suite, event: str, payload: dict[str, Any], **headers: str) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=30) as http:
        secret = suite.addresses["webhook_secrets"]["github"]
        return await deliver(http, suite.addresses["rest"], event, payload, secret, **headers)


async def asked_over_http(suite: Suite, question: str) -> dict[str, Any]:
    async with httpx2.AsyncClient(timeout=30, headers=suite.headers) as http:
        answer = await http.post(f"{suite.addresses['rest']}/api/v1/search", json={"query": question})
    assert answer.status_code == 200
    return answer.json()


async def answered_with(client: Client, title: str) -> types.CallToolResult:
    """The answer once `title` comes first: meaning is known a moment after words are, when the worker has embedded them."""
    async with asyncio.timeout(60):
        while True:
            found = await client.call_tool("context_search", {"query": QUESTION})
            if title in found.structured_content["items"][0]["title"]:
                return found
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("era", ERAS)
async def test_from_webhook_to_answer(suite, era):
    """The whole story: webhooks in, the agent told, a tool called, something learned, the failed run found by both doors."""
    marker = f"Compute the tax once ({era})"
    async with listening_agent(suite, era) as listener:
        opened = await send(suite, "pull_request", pull_request(marker))
        assert (opened.status_code, opened.json()["status"]) == (202, "accepted")
        failed = await send(suite, "workflow_run", failed_run(message=marker))
        told = [(await listener.next())["io.devops-mcp/event"] for _ in range(2)]
        [change], [build] = opened.json()["events"], failed.json()["events"]
        assert {event["id"]: event["type"] for event in told} == {
            change: "change.opened",
            build: "build.finished",
        }

        names = [tool.name for tool in (await listener.client.list_tools()).tools]
        assert {"github_issue_list", "context_append", "context_search"} <= set(names)
        issue = {"action": "create", "repo": REPO, "title": f"Build fails: {marker}"}
        written = await listener.client.call_tool("github_issue_write", issue)
        assert not written.is_error, written.content
        listed = await listener.client.call_tool("github_issue_list", {"repo": REPO})
        assert issue["title"] in listed.content[0].text

        created = await listener.client.call_tool("context_create", {"title": "the failing build"})
        context_id = created.structured_content["data"]["context_id"]
        learned = {
            "context_id": context_id,
            "items": [{"text": "Redis is not started for the tests of the shop."}],
        }
        assert not (await listener.client.call_tool("context_append", learned)).is_error
        found = await answered_with(listener.client, "Build 'CI' failed on main of acme/shop")
    over_http = await asked_over_http(suite, QUESTION)
    first = found.structured_content["items"][0]
    assert first["kind"] == "event"
    assert over_http["hits"][0]["passage"]["uri"] == first["uri"]
    assert found.structured_content["mode"] == over_http["mode"] == "hybrid"


async def test_what_was_learned_is_found_by_another_agent_session_in_other_words(suite):
    async with listening_agent(suite, HANDSHAKE) as listener:
        created = await listener.client.call_tool("context_create", {"title": "database incident"})
        context_id = created.structured_content["data"]["context_id"]
        text = "The connection pool was exhausted because a migration held a lock on the orders table."
        await listener.client.call_tool(
            "context_append", {"context_id": context_id, "items": [{"text": text}]}
        )
    question = "what used up all the database connections?"
    async with asyncio.timeout(60):
        while True:
            hits = (await asked_over_http(suite, question))["hits"]
            if hits and hits[0]["vector_rank"] is not None and hits[0]["passage"]["text"] == text:
                break


async def test_a_forged_webhook_is_refused_and_publishes_nothing(suite):
    """W01"""
    payload = failed_run(message="forged")
    forged = await send(suite, "workflow_run", payload, **{"X-Hub-Signature-256": "sha256=" + "0" * 64})
    assert forged.status_code == 401
    assert forged.headers["content-type"] == "application/problem+json"
    hits = (await asked_over_http(suite, "forged"))["hits"]
    assert not [hit for hit in hits if "forged" in hit["passage"]["title"]]


async def test_a_replayed_webhook_is_accepted_and_does_nothing(suite):
    """W03"""
    payload = failed_run(message="only once please")
    async with listening_agent(suite, HANDSHAKE) as listener:
        first = await send(suite, "workflow_run", payload)
        await listener.next()
        again = await send(suite, "workflow_run", payload)
        other = await send(suite, "workflow_run", failed_run(message="another"))
        following = (await listener.next())["io.devops-mcp/event"]["id"]
    assert (again.status_code, again.json()) == (202, {"status": "duplicate", "events": []})
    assert first.json()["status"] == "accepted"
    assert [following] == other.json()["events"]


async def test_one_trace_leads_from_the_webhook_to_the_agents_notification(suite):
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with listening_agent(suite, HANDSHAKE) as listener:
        traceparent = f"00-{trace_id}-00f067aa0ba902b7-01"
        await send(suite, "pull_request", pull_request("traced"), traceparent=traceparent)
        told = await listener.next()
    assert told["traceparent"].split("-")[1] == trace_id


async def test_an_agent_over_streamable_http_hears_of_events_too(suite):
    async with listening_agent(suite, ERAS[1], "http") as listener:
        sent = await send(suite, "pull_request", pull_request("over http"))
        assert [(await listener.next())["io.devops-mcp/event"]["id"]] == sent.json()["events"]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b'{"query": NaN}', 400), (b"[]", 422), (b"{}", 422), (b'{"query":"x","colour":1}', 422)],
)
async def test_bad_input_gets_a_problem_document(suite, body, status):
    """H05"""
    headers = {**suite.headers, "Content-Type": "application/json"}
    async with httpx2.AsyncClient(timeout=30, headers=headers) as http:
        answer = await http.post(f"{suite.addresses['rest']}/api/v1/search", content=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_a_body_over_the_limit_is_refused(suite):
    """H04"""
    async with httpx2.AsyncClient(
        timeout=30, headers={**suite.headers, "Content-Type": "application/json"}
    ) as http:
        answer = await http.post(f"{suite.addresses['rest']}/api/v1/search", content=b" " * 1_048_577)
    assert answer.status_code == 413


@pytest.mark.parametrize("path", ["/api/v1/contexts", "/api/v1/tools", "/api/v1/events"])
async def test_without_a_key_nothing_is_answered(suite, path):
    async with httpx2.AsyncClient(timeout=30) as http:
        answer = await http.get(suite.addresses["rest"] + path)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_each_service_names_its_dependencies_and_their_state(suite):
    async with httpx2.AsyncClient(timeout=30) as http:
        rest = (await http.get(f"{suite.addresses['rest']}/health/ready")).json()
        mcp = (await http.get(str(suite.addresses["mcp_http"]).replace("/mcp", "/health/ready"))).json()
    for report in (rest, mcp):
        assert report["checks"]["database"]["status"] == "ok"
        assert report["checks"]["embedding"]["detail"] == "hybrid: all-MiniLM-L6-v2/int8/384"
        assert report["checks"]["github:github"]["status"] == "ok"
