"""Secrets planted in every place that takes one, and looked for in all that three running services leave behind (case K01)."""

import asyncio
import base64
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import psycopg
import pytest
import websockets
import yaml
from psycopg import sql
from redis import Redis

from devops_mcp.embedded.ports import choose_ports
from devops_mcp.events.connection import open_sqs
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from support.agents import ERAS, agent
from support.github_webhooks import failed_run, signed
from support.suite import Suite, running_suite

PASSWORD, OTHER_PASSWORD, SHORT = "planted-password-of-alice", "planted-password-of-bob", "planted-pw"
WEBHOOK_SECRET, VENDOR_TOKEN, VENDOR_PASSWORD = (
    "planted-webhook-secret",
    "planted-vendor-token",
    "planted-vendor-pw",
)
STORED_TOKEN, OWN_TOKEN = "planted-token-of-an-integration", "planted-token-of-alice-herself"
STORED_HOOK = "planted-hook-of-an-integration"
ARGUMENT = "planted-argument-of-a-tool"
_WITHIN_S = 60


@dataclass
class Outside:
    """A system that refuses us and says back what we sent, and a collector of traces: what each was sent is kept."""

    port: int = 0
    traces: list[bytes] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)


@contextmanager
def an_outside() -> Iterator[Outside]:
    outside = Outside()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.path == "/v1/traces":
                outside.traces.append(body)
                self._answer(200, b"")
            else:
                self.do_GET()

        def do_GET(self) -> None:
            credential = self.headers.get("authorization", "")
            outside.credentials.append(credential)
            self._answer(
                401, json.dumps({"message": f"bad credentials: {credential}", "error": credential}).encode()
            )

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    outside.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield outside
    finally:
        server.shutdown()
        thread.join()


@dataclass
class Left:
    """What was left behind, by where; and the secrets to look for, by what they are."""

    texts: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)

    def heard(self, where: str, answer: httpx2.Response, *meant: str) -> Any:
        """Keep an answer, but for what is shown in it on purpose."""
        text = answer.text + repr(dict(answer.headers))
        for secret in meant:
            text = text.replace(secret, "")
        self.texts[f"{where} #{len(self.texts)}"] = text
        return answer.json() if answer.headers.get("content-type") == "application/json" else None

    def found(self) -> list[tuple[str, str, str]]:
        """Where a secret is, in clear or as a header would carry it."""
        return [
            (what, where, text[max(0, text.index(form) - 80) : text.index(form) + 20])
            for what, secret in self.secrets.items()
            for form in (
                secret,
                base64.b64encode(secret.encode()).decode().rstrip("="),
                secret.encode().hex(),
            )
            for where, text in self.texts.items()
            if form in text
        ]


def configuration(tmp_path, outside: Outside) -> dict[str, str]:
    url = f"http://127.0.0.1:{outside.port}"
    content = {
        "private_networks": ["127.0.0.0/8"],
        "integrations": [
            {
                "name": "github",
                "system": "github",
                "webhook_secrets": [WEBHOOK_SECRET],
                "options": {"base_url": url, "token": VENDOR_TOKEN},
            },
            {
                "name": "metrics",
                "system": "prometheus",
                "options": {"base_url": url, "username": "monitor", "password": VENDOR_PASSWORD},
            },
        ],
    }
    path = tmp_path / "operators.yaml"
    path.write_text(yaml.safe_dump(content))
    return {
        "DEVOPS_MCP_CONFIG_FILE": str(path),
        "DEVOPS_MCP_BASIC_AUTHENTICATION": "true",
        "DEVOPS_MCP_OTLP_ENDPOINT": url,
        "DEVOPS_MCP_LOG_LEVEL": "DEBUG",
    }


async def people_and_keys(http: httpx2.AsyncClient, left: Left, root: Mapping[str, str]) -> None:
    """Made, changed, used, misused and refused."""
    alice = {"username": "alice", "name": "Alice", "roles": ["developer"], "password": PASSWORD}
    user = left.heard("users", await http.post("/api/v1/users", json=alice, headers=root))["id"]
    left.heard("short", await http.post("/api/v1/users", json=alice | {"password": SHORT}, headers=root))
    left.heard(
        "unknown member", await http.post("/api/v1/users", json=alice | {"pasword": PASSWORD}, headers=root)
    )
    for credential in (("alice", PASSWORD), (PASSWORD, PASSWORD), ("alice", OTHER_PASSWORD)):
        left.heard("basic", await http.get("/api/v1/me", auth=credential))
    change = {"current_password": PASSWORD, "password": OTHER_PASSWORD}
    left.heard("password", await http.put("/api/v1/me/password", json=change, auth=("alice", PASSWORD)))
    put = await http.put(f"/api/v1/users/{user}/password", json={"password": PASSWORD}, headers=root)
    left.heard("password", put)
    draft = {"name": "laptop", "roles": ["developer"]}
    made = await http.post("/api/v1/api-keys", json=draft, headers=root)
    key = made.json()["key"]
    one = f"/api/v1/api-keys/{left.heard('keys', made, key)['id']}"
    rotated = await http.post(f"{one}/rotate", json={"grace_minutes": 5}, headers=root)
    new = rotated.json()["key"]
    left.heard("keys", rotated, new)
    for secret in (key, new):
        left.secrets[f"API key {secret[-4:]}"] = secret.split("_", 2)[2]
        left.heard("me", await http.get("/api/v1/me", headers={"X-API-Key": secret}))
        left.heard("in the address", await http.get("/api/v1/me", params={"api_key": secret}))
        left.heard("damaged", await http.get("/api/v1/me", headers={"X-API-Key": secret[:-1]}))
    for path in ("/api/v1/api-keys", one, "/api/v1/users", f"/api/v1/users/{user}"):
        left.heard("read", await http.get(path, headers=root))


async def sessions(http: httpx2.AsyncClient, left: Left, root: Mapping[str, str], mcp: str) -> None:
    """Begun, used where they belong and where they do not, refreshed, used again, ended."""
    named = {"username": "alice", "password": PASSWORD}
    left.heard("login", await http.post("/api/v1/login", json=named | {"password": OTHER_PASSWORD}))
    begun = await http.post("/api/v1/login", json=named)
    refresh = {"refresh_token": begun.json()["refresh_token"]}
    refreshed = await http.post("/api/v1/login/refresh", json=refresh)
    for answer in (begun, refreshed):
        access, token = answer.json()["access_token"], answer.json()["refresh_token"]
        left.heard("login", answer, access, token)
        left.secrets[f"access token {access[-4:]}"] = access.rpartition(".")[2]
        left.secrets[f"refresh token {token[-4:]}"] = token[-60:-24]
        bearer = {"Authorization": f"Bearer {access}"}
        for path in ("/api/v1/me", "/api/v1/sessions", f"/api/v1/me?access_token={access}"):
            left.heard("session", await http.get(path, headers=bearer))
        left.heard("elsewhere", await http.post(f"{mcp}/mcp", headers=bearer))
        left.heard("damaged", await http.get("/api/v1/me", headers={"Authorization": f"Bearer {access}x"}))
    for path in ("/api/v1/logout", "/api/v1/login/refresh"):
        left.heard("out", await http.post(path, json={"refresh_token": refreshed.json()["refresh_token"]}))
    left.heard("sessions", await http.get("/api/v1/sessions", headers=root))


async def webhooks(http: httpx2.AsyncClient, left: Left, root: Mapping[str, str]) -> None:
    """In, signed well and badly; out, with a secret of their own."""
    for secret in (WEBHOOK_SECRET, "another"):
        body, headers = signed("workflow_run", failed_run(), secret)
        left.heard("webhook in", await http.post("/webhooks/github", content=body, headers=headers))
    draft = {"name": "hook", "url": "https://example.com/", "filter": None}
    made = await http.post("/api/v1/webhook-endpoints", json=draft, headers=root)
    secret = made.json()["secret"]
    left.secrets["secret of an outgoing webhook"] = secret.removeprefix("whsec_")
    one = f"/api/v1/webhook-endpoints/{left.heard('webhook out', made, secret)['id']}"
    left.heard("webhook out", await http.get(one, headers=root))


async def integrations(left: Left, http: httpx2.AsyncClient, root: Mapping[str, str], url: str) -> None:
    """Made with secrets, wrongly and rightly; changed, called as the service and as a person, tested and deleted."""
    base = "/api/v1/integrations"
    one = {
        "name": "stored",
        "system": "prometheus",
        "credential_policy": "personal_preferred",
        "options": {"base_url": url},
        "credentials": {"bearer_token": STORED_TOKEN},
    }
    for wrong in (
        {"options": {"base_url": url, "bearer_token": STORED_TOKEN}},
        {"credentials": {"bearer_token": STORED_TOKEN, "password": STORED_TOKEN}},
        {"credentials": {"headers": {"a b": STORED_TOKEN}}},
        {"credentials": {"bearer_token": [STORED_TOKEN]}},
    ):
        left.heard("integration", await http.post(base, json=one | wrong, headers=root))
    left.heard("integration", await http.post(base, json=one, headers=root))
    hook = {"name": "hook", "system": "github", "webhook_secrets": [STORED_HOOK]}
    path = left.heard("integration", await http.post(base, json=hook, headers=root))["webhook_path"]
    for secret in (STORED_HOOK, "another"):
        body, headers = signed("workflow_run", failed_run(), secret)
        left.heard("webhook in", await http.post(path, content=body, headers=headers))
    added = await http.post(f"{base}/hook/webhook-secrets", json={}, headers=root)
    secret = added.json()["secret"]
    left.secrets["secret of an incoming webhook"] = secret
    left.heard("webhook secret", added, secret)
    alice, own = ("alice", PASSWORD), "/api/v1/me/credentials/stored"
    left.heard("own", await http.put(own, json={"credentials": {"bearer_token": OWN_TOKEN}}, auth=alice))
    left.heard("own", await http.put(own, json={"credentials": {"password": OWN_TOKEN}}, auth=alice))
    query = {"arguments": {"query": "up", "target": "stored"}}
    for who in ({"headers": root}, {"auth": alice}):
        left.heard("query", await http.post("/api/v1/tools/prometheus_query/call", json=query, **who))
        left.heard("read", await http.get("/api/v1/me/credentials", **who))
    left.heard("test", await http.post(f"{base}/stored/test", headers=root))
    draft = {"options": {"base_url": url, "timeout_s": 5.0}}
    left.heard("changed", await http.put(f"{base}/stored", json=draft, headers=root))
    for path in (base, f"{base}/stored", f"{base}/hook", "/api/v1/integration-systems"):
        left.heard("read", await http.get(path, headers=root))
    left.heard("deleted", await http.delete(f"{base}/hook", headers=root))


async def tools(left: Left, suite: Suite, http: httpx2.AsyncClient, root: Mapping[str, str]) -> None:
    """Calls of systems that refuse us, over REST, MCP and as a task of the worker."""
    listing, query = {"repo": "acme/shop"}, {"query": "up"}
    write = {"repo": "acme/shop", "action": "create", "title": "x", "body": "y", "password": ARGUMENT}
    for name, arguments in (
        ("github_issue_list", listing),
        ("prometheus_query", query),
        ("github_issue_write", write),
    ):
        path = f"/api/v1/tools/{name}/call"
        left.heard(name, await http.post(path, json={"arguments": arguments}, headers=root))
    task = {"arguments": {"name": "github_issue_list", "arguments": listing}}
    started = left.heard("task", await http.post("/api/v1/tools/task_start/call", json=task, headers=root))
    follow = {"arguments": {"task_id": started["result"]["data"]["task_id"]}}
    async with asyncio.timeout(_WITHIN_S):
        while True:
            got = await http.post("/api/v1/tools/task_get/call", json=follow, headers=root)
            if left.heard("task", got)["result"]["task"]["status"] in ("completed", "failed"):
                break
            await asyncio.sleep(0.1)
    base = str(suite.addresses["mcp_http"]).removesuffix("/mcp")
    for transport, era in zip(("ws", "http"), ERAS, strict=True):
        async with agent(transport, base, root["X-API-Key"], era, view="/x/all") as client:
            answer = await client.call_tool("github_issue_list", listing)
            left.texts[f"{transport} {era}"] = repr(answer)


async def refused_sockets(left: Left, suite: Suite, root: Mapping[str, str]) -> None:
    for query, headers in (
        ("?api_key=" + root["X-API-Key"], {}),
        ("", {"X-API-Key": root["X-API-Key"][:-1]}),
    ):
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with websockets.connect(suite.addresses["mcp_ws"] + query, additional_headers=headers):
                pass
        left.texts[f"socket {query[:4]}"] = bytes(refused.value.response.body or b"").decode()


async def a_dead_letter(left: Left, suite: Suite, http: httpx2.AsyncClient, root: Mapping[str, str]) -> None:
    """A message of another version is given up, kept and shown."""
    message = {"type": "of.tomorrow", "id": str(new_id()), "tenant_id": str(DEFAULT_TENANT_ID)}
    async with open_sqs(endpoint_url=suite.addresses["sqs"], region="us-east-1") as client:
        queue = (await client.get_queue_url(QueueName="devops-mcp-events"))["QueueUrl"]
        await client.send_message(QueueUrl=queue, MessageBody=json.dumps(message))
    async with asyncio.timeout(_WITHIN_S):
        while not (letters := (await http.get("/api/v1/dead-letters", headers=root)).json()["items"]):
            await asyncio.sleep(0.1)
    left.heard("dead letter", await http.get(f"/api/v1/dead-letters/{letters[0]['id']}", headers=root))


async def documents(left: Left, http: httpx2.AsyncClient, root: Mapping[str, str], *bases: str) -> None:
    left.heard("audit", await http.get("/api/v1/audit/export", headers=root))
    for base in bases:
        for path in ("/metrics", "/health/ready"):
            left.heard(f"{base}{path}", await http.get(f"{base}{path}"))


def stored(left: Left, suite: Suite) -> None:
    """Every row of every table, and every key of Redis."""
    with psycopg.connect(suite.addresses["postgres"]) as connection:
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        ).fetchall()
        for (name,) in tables:
            select = sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(name))
            left.texts[f"table {name}"] = "\n".join(row for (row,) in connection.execute(select).fetchall())
    with Redis.from_url(suite.addresses["redis"]) as redis:
        for key in redis.scan_iter():
            left.texts[f"redis {key!r}"] = repr(redis.dump(key)) + repr(key)


def written(left: Left, suite: Suite, outside: Outside) -> None:
    """The logs of all services, and the traces."""
    for path in (suite.state / "logs").iterdir():
        left.texts[f"log {path.name}"] = path.read_text("utf-8", "replace")
    left.texts["terminal"] = suite.said().replace(suite.addresses["api_key"], "")
    left.texts["traces"] = b"\n".join(outside.traces).decode("latin-1")


@pytest.mark.timeout(240)
async def test_no_secret_is_left_in_anything_that_the_services_write_answer_or_keep(tmp_path):
    """K01"""
    worker = choose_ports({"worker": 0})["worker"]
    with (
        an_outside() as outside,
        running_suite(
            tmp_path / "state", configuration(tmp_path, outside) | {"DEVOPS_MCP_WORKER__PORT": str(worker)}
        ) as suite,
    ):
        own = json.loads((suite.state / "secrets.json").read_text())
        left = Left(secrets={f"our own {name}": value.split("_", 2)[-1] for name, value in own.items()})
        planted = (PASSWORD, OTHER_PASSWORD, SHORT, WEBHOOK_SECRET, VENDOR_TOKEN, VENDOR_PASSWORD, ARGUMENT)
        planted += (STORED_TOKEN, OWN_TOKEN, STORED_HOOK)
        left.secrets |= {secret: secret for secret in planted}
        left.secrets |= {f"alice:{PASSWORD}": f"alice:{PASSWORD}", "monitor": f"monitor:{VENDOR_PASSWORD}"}
        root = {"X-API-Key": str(suite.addresses["api_key"])}
        rest, mcp = str(suite.addresses["rest"]), str(suite.addresses["mcp_http"]).removesuffix("/mcp")
        async with httpx2.AsyncClient(base_url=rest, timeout=30) as http:
            await people_and_keys(http, left, root)
            await sessions(http, left, root, mcp)
            await webhooks(http, left, root)
            await integrations(left, http, root, f"http://127.0.0.1:{outside.port}")
            await tools(left, suite, http, root)
            await refused_sockets(left, suite, root)
            await a_dead_letter(left, suite, http, root)
            await documents(left, http, root, rest, mcp, f"http://127.0.0.1:{worker}")
        stored(left, suite)
        assert suite.stop() == 0
        written(left, suite, outside)
    for token in (VENDOR_TOKEN, STORED_TOKEN, OWN_TOKEN):
        assert f"Bearer {token}" in outside.credentials, "the token was used"
    for service in ("rest-api", "mcp-server", "worker"):
        assert left.texts[f"log {service}.log"].count('"event"') > 3, "each service has written its log"
    for where, text in (
        ("traces", "/api/v1/users"),
        ("table users", "alice"),
        ("table dead_letters", "of.tomorrow"),
    ):
        assert text in left.texts[where], "and what is looked through is what they left"
    assert left.found() == []
