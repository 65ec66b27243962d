"""`make demo`: plays the main story against a running suite, each step checked, and shown with the time it took.

Webhooks in, an agent told over WebSocket, a tool called, something learned and found again, over MCP and over HTTP.
"""

import argparse
import asyncio
import hashlib
import hmac
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import mcp_types as types
import orjson
from mcp import Client
from rich.console import Console
from rich.markup import escape

from devops_mcp.cli.websocket import websocket_streams
from devops_mcp.models.errors import PlatformError

QUESTION = "which pipeline run broke, and on what branch?"
STORY_S = 30.0
WAIT_S = 10.0
"""How long the story may take, and anything in it that is waited for."""
BUILD_TOOK = timedelta(seconds=97)


class StoryFailed(PlatformError):
    """A step did not end as it should."""

    code = "story_failed"


class Terminal:
    """Numbers the steps and times them."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._steps = 0

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        self._steps += 1
        self.console.print(f"[bold]{self._steps}. {escape(title)}[/bold]")
        begun = time.perf_counter()
        yield
        self.console.print(f"   [green]done[/green] in {(time.perf_counter() - begun) * 1000:.0f} ms")

    def show(self, text: str) -> None:
        self.console.print(f"   {escape(text)}", highlight=False, overflow="ellipsis", no_wrap=True)


class Story:
    """The suite as an agent and an integrator see it. Each method is a step; a step that does not hold raises `StoryFailed`."""

    def __init__(self, run: dict[str, Any], http: httpx2.AsyncClient, terminal: Terminal) -> None:
        self._run = run
        self._http = http
        self._terminal = terminal
        self._heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._payloads: dict[str, dict[str, Any]] = {}

    async def play(self) -> None:
        await self._meet_github()
        async with self._agent() as client:
            await self._subscribe(client)
            await self._refuse_a_forged_webhook()
            await self._hear_of_webhooks(client)
            await self._ignore_a_replay()
            await self._read_why(client)
            await self._remember(client)
            await self._ask(client)
        await self._ask_over_http()

    @property
    def _repo(self) -> str:
        return str(self._payloads["workflow_run"]["repository"]["full_name"])

    @property
    def _address(self) -> str:
        return f"devops://events/github/{self._repo}"

    async def _meet_github(self) -> None:
        stand_in = self._run.get("github_stand_in")
        if stand_in is None:
            raise StoryFailed(
                "this suite speaks to the real GitHub; the demo needs the stand-in: start without GITHUB_TOKEN"
            )
        self._terminal.show(f"GitHub is a small stand-in of ours at {stand_in}; everything else is real")
        answer = await self._http.get(f"{stand_in}/webhooks")
        self._payloads = answer.json()
        now = datetime.now(UTC)
        for name in ("workflow_run", "pull_request"):  # another one at each playing
            self._payloads[name][name] |= {"id": int(now.timestamp() * 1_000), "updated_at": now.isoformat()}
        self._payloads["workflow_run"]["workflow_run"]["run_started_at"] = (now - BUILD_TOOK).isoformat()

    @asynccontextmanager
    async def _agent(self) -> AsyncIterator[Client]:
        headers = {"Authorization": f"Bearer {self._run['api_key']}"}
        streams = websocket_streams(self._run["mcp_ws"], headers)
        with self._terminal.step("an agent connects over WebSocket (2025-11-25)"):
            client = Client(streams, mode="legacy", message_handler=self._hear)
            await client.__aenter__()
            tools = await client.list_tools()
            self._terminal.show(
                f"{client.server_info.name if client.server_info else '?'} offers {len(tools.tools)} tools"
            )
        try:
            yield client
        finally:
            await client.__aexit__(None, None, None)

    async def _hear(self, message: object) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            meta = message.params.meta or {}
            self._heard.put_nowait(dict(meta))

    async def _subscribe(self, client: Client) -> None:
        with self._terminal.step(f"it subscribes to {self._address}"):
            await client.session.send_request(
                types.SubscribeRequest(params=types.SubscribeRequestParams(uri=self._address)),
                types.EmptyResult,
            )

    async def _refuse_a_forged_webhook(self) -> None:
        with self._terminal.step("a forged webhook arrives"):
            status, _ = await self._deliver("workflow_run", secret="another")  # noqa: S106
            _must(status == 401, f"it was answered {status}, not 401")
            self._terminal.show("401: refused, nothing stored")

    async def _hear_of_webhooks(self, client: Client) -> None:
        with self._terminal.step("GitHub reports a pull request and a failed run; the agent hears of both"):
            for name in ("pull_request", "workflow_run"):
                begun = time.perf_counter()
                status, answer = await self._deliver(name)
                _must(
                    status == 202 and answer["status"] == "accepted", f"{name} was answered {status} {answer}"
                )
                event = await self._notification(answer["events"][0])
                self._terminal.show(f"{(time.perf_counter() - begun) * 1000:.0f} ms  {event['title']}")

    async def _notification(self, event_id: str) -> dict[str, Any]:
        async with asyncio.timeout(WAIT_S):
            while True:
                event = (await self._heard.get()).get("io.devops-mcp/event", {})
                if event.get("id") == event_id:
                    return dict(event)

    async def _ignore_a_replay(self) -> None:
        with self._terminal.step("the same webhook arrives again, under a new delivery id"):
            status, answer = await self._deliver("workflow_run")
            _must(status == 202 and answer["status"] == "duplicate", f"it was answered {status} {answer}")
            self._terminal.show("202: known already, nothing done")

    async def _read_why(self, client: Client) -> None:
        with self._terminal.step("the agent finds the tool for logs, and calls github_job_logs"):
            run_id = self._payloads["workflow_run"]["workflow_run"]["id"]
            arguments = {"action": "run", "repo": self._repo, "run_id": run_id}
            found = await self._call(client, "tools_search", {"query": "read the log of a failed run"})
            names = [tool["name"] for tool in found["items"]]
            _must("github_job_logs" in names, f"the search found {names}")
            wanted = {"name": "github_job_logs", "arguments": arguments}
            result = await self._call(client, "tools_read", wanted)
            self._terminal.show(result["jobs"][0]["text"].splitlines()[-2].strip())

    async def _remember(self, client: Client) -> None:
        with self._terminal.step("it writes what it learned into its conversation context"):
            context = await self._call(
                client, "context_create", {"title": f"Checkout change in {self._repo}"}
            )
            text = "The tests wait for Redis, which the test environment does not start. Ask the platform team for a service container."
            arguments = {
                "context_id": context["data"]["context_id"],
                "items": [{"kind": "note", "text": text}],
            }
            await self._call(client, "context_append", arguments)
            self._terminal.show(context["url"])

    async def _ask(self, client: Client) -> None:
        with self._terminal.step(f"it asks: {QUESTION}"):
            async with asyncio.timeout(WAIT_S):
                result = await self._call(client, "context_search", {"query": QUESTION})
            self._show_hits(result["items"], result["mode"])

    async def _ask_over_http(self) -> None:
        with self._terminal.step("an integrator asks the same over POST /api/v1/search"):
            headers = {"X-API-Key": self._run["api_key"]}
            answer = await self._http.post(
                f"{self._run['rest']}/api/v1/search", json={"query": QUESTION}, headers=headers
            )
            _must(answer.status_code == 200, f"it was answered {answer.status_code}")
            content = answer.json()
            self._show_hits([hit["passage"] for hit in content["hits"]], content["mode"])

    def _show_hits(self, passages: list[dict[str, Any]], mode: str) -> None:
        _must(bool(passages), "nothing was found")
        first = passages[0]
        _must(
            first["kind"] == "event" and "failed" in first["title"],
            f"the first answer is {first['title']!r}, not the failed run",
        )
        for passage in passages[:3]:
            self._terminal.show(f"{mode}  {passage['title']}")

    async def _call(self, client: Client, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        result = await client.call_tool(name, arguments)
        text = "".join(part.text for part in result.content if isinstance(part, types.TextContent))
        _must(not result.is_error, f"{name}: {text}")
        return dict(orjson.loads(text))

    async def _deliver(self, name: str, secret: str | None = None) -> tuple[int, dict[str, Any]]:
        body = orjson.dumps(self._payloads[name])
        key = (secret or self._run["webhook_secrets"]["github"]).encode()
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": name,
            "X-GitHub-Delivery": str(uuid4()),
            "X-Hub-Signature-256": "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest(),
        }
        answer = await self._http.post(f"{self._run['rest']}/webhooks/github", content=body, headers=headers)
        return answer.status_code, answer.json()


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise StoryFailed(otherwise)


async def play(state: Path, console: Console) -> float:
    """Play the story against the suite that runs in `state`; return the seconds it took. Raises `StoryFailed`."""
    try:
        run = orjson.loads((state / "run.json").read_bytes())
    except OSError:
        raise StoryFailed(f"nothing runs in {state}; start it with 'make run' in another terminal") from None
    begun = time.perf_counter()
    try:
        async with asyncio.timeout(STORY_S), httpx2.AsyncClient(timeout=WAIT_S) as http:
            await Story(run, http, Terminal(console)).play()
    except (TimeoutError, httpx2.HTTPError) as error:
        raise StoryFailed(
            f"something that was waited for did not come in time ({type(error).__name__})"
        ) from None
    return time.perf_counter() - begun


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m devops_mcp.cli.demo", description=__doc__)
    parser.add_argument("--state", type=Path, default=Path(".data"), help="folder of the running suite")
    console = Console()
    try:
        seconds = asyncio.run(play(parser.parse_args(arguments).state, console))
    except PlatformError as error:
        Console(stderr=True).print(f"[red]the story ends here:[/red] {escape(error.message)}", soft_wrap=True)
        return 1
    console.print(f"\n[bold green]the whole story took {seconds:.1f} s[/bold green]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
