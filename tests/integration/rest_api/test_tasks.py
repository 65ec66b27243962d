"""Tasks over REST: submitted, followed, answered and cancelled; and what one sees of another's."""

from contextlib import asynccontextmanager
from uuid import UUID

import httpx2
import psycopg
import pytest

from devops_mcp.models.base import utc_now
from devops_mcp.models.conversation import Form
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.platform import Platform, open_platform
from devops_mcp.operations.task_runner import TaskRunner
from support.prometheus_fake import PrometheusFake
from support.rest import Rest
from support.servers import serve
from support.services import new_key, running_rest, settings_for

TASKS = "/api/v1/tasks"
PASSWORD = "correct horse battery staple 9"


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.app_url, redis_url)


class Shown:
    """A Prometheus that keeps the credentials it was shown."""

    def __init__(self) -> None:
        self._app = PrometheusFake().app
        self.shown: list[str] = []

    async def __call__(self, scope, receive, send) -> None:
        self.shown.append(dict(scope["headers"]).get(b"authorization", b"").decode())
        await self._app(scope, receive, send)


class Keyed:
    def __init__(self, http, key) -> None:
        self._http, self._headers = http, {"X-API-Key": key}

    async def request(self, method, path, **options):
        return await self._http.request(method, path, headers=self._headers, **options)


class Signed:
    def __init__(self, http, token) -> None:
        self._http, self._headers = http, {"Authorization": f"Bearer {token}"}

    async def request(self, method, path, **options):
        return await self._http.request(method, path, headers=self._headers, **options)


class Front:
    """rest-api, callers of it, and a worker to run what they submit."""

    def __init__(self, owner_url: str, http: httpx2.AsyncClient, worker: Platform) -> None:
        self._owner_url, self._http = owner_url, http
        self.worker = worker

    async def caller(self, *grants: str, **changes) -> Rest:
        return Rest(Keyed(self._http, await new_key(self._owner_url, *grants, **changes)))

    async def signed_in(self, username: str, password: str, *scopes: str) -> Rest:
        """Who has signed in for these scopes, or for everything."""
        body = {"username": username, "password": password} | ({"scopes": scopes} if scopes else {})
        answer = await self._http.post("/api/v1/login", json=body)
        assert answer.status_code == 200, answer.text
        return Rest(Signed(self._http, answer.json()["access_token"]))

    async def run(self, task_id: str) -> None:
        runner = TaskRunner(self.worker.database, self.worker.tools, self.worker.changes)
        await runner.run(DEFAULT_TENANT_ID, UUID(task_id), new_id())


@asynccontextmanager
async def a_front(database, settings):
    worker_settings = settings_for(database.worker_url, settings.redis_url.get_secret_value())
    async with (
        running_rest(settings) as url,
        httpx2.AsyncClient(base_url=url, timeout=60) as http,
        open_platform(worker_settings, Metrics(), application="worker") as worker,
    ):
        yield Front(database.owner_url, http, worker)


async def test_a_call_is_submitted_run_by_the_worker_and_its_result_read(database, settings):
    async with a_front(database, settings) as front:
        rest = await front.caller()
        body = {"tool": "context_create", "arguments": {"title": "from a task"}, "idempotency_key": "once"}
        submitted = await rest("POST", TASKS, json=body)
        assert submitted.status_code == 202, submitted.text
        task = submitted.json()
        assert (task["status"], task["arguments"], task["result"]) == ("working", body["arguments"], None)
        assert (await rest("POST", TASKS, json=body)).json()["id"] == task["id"], (
            "the same key, the same task"
        )
        other = await rest("POST", TASKS, json=body | {"arguments": {"title": "another"}})
        assert other.status_code == 409
        await front.run(task["id"])
        ended = (await rest("GET", f"{TASKS}/{task['id']}")).json()
        assert (ended["status"], ended["error"]) == ("completed", None)
        assert "context_id" in ended["result"]["data"]
        cancelled = await rest("POST", f"{TASKS}/{task['id']}/cancel")
        assert cancelled.json()["status"] == "completed", "what has ended stays as it is"
    with psycopg.connect(database.superuser_url) as connection:
        actions = connection.execute("SELECT action FROM audit_log WHERE action LIKE 'tasks.%'").fetchall()
    assert actions == [("tasks.submit",)]


async def test_tasks_are_found_by_state_tool_and_time_a_page_at_a_time(database, settings):
    async with a_front(database, settings) as front:
        rest = await front.caller()
        for name in ("context_list", "event_list", "context_list"):
            assert (await rest("POST", TASKS, json={"tool": name})).status_code == 202
        first = (await rest("GET", f"{TASKS}?limit=2")).json()
        rest_of_them = (await rest("GET", f"{TASKS}?limit=2&cursor={first['next_cursor']}")).json()
        found = [*first["items"], *rest_of_them["items"]]
        assert [task["tool"] for task in found] == ["context_list", "event_list", "context_list"]
        assert rest_of_them["next_cursor"] is None
        await rest("POST", f"{TASKS}/{found[0]['id']}/cancel")
        moment = found[1]["created_at"]
        for query, count in (
            ("status=cancelled", 1),
            ("status=working&tool=context_list", 1),
            ("tool=event_list", 1),
            (f"since={moment}", 2),
            (f"until={moment}", 1),
        ):
            shown = await rest("GET", f"{TASKS}?{query}")
            assert len(shown.json()["items"]) == count, (query, shown.text)


async def test_a_task_that_waits_for_input_is_answered_over_rest(database, settings):
    async with a_front(database, settings) as front:
        rest, stranger = await front.caller(), await front.caller()
        body = {"tool": "context_list", "can_answer": ["form"]}
        one = f"{TASKS}/{(await rest('POST', TASKS, json=body)).json()['id']}"
        task_id = UUID(one.rpartition("/")[2])
        async with front.worker.database.transaction(DEFAULT_TENANT_ID) as tx:
            claimed = await tx.tasks.claim(task_id, utc_now(), new_id())
            assert claimed is not None
            assert claimed.answerable == ("form",)
            questions = {"sure": Form(message="Are you?", fields={"type": "object", "properties": {}})}
            assert await tx.tasks.ask(task_id, claimed.attempt, questions)
        waiting = (await rest("GET", one)).json()
        assert (waiting["status"], waiting["questions"]["sure"]["message"]) == ("input_required", "Are you?")
        yes = {"answers": {"sure": {"kind": "form", "action": "accept", "content": {}}}}
        assert (await stranger("POST", f"{one}/answers", json=yes)).status_code == 404
        wrong = {"answers": {"sure": {"kind": "roots", "uris": []}}}
        assert (await rest("POST", f"{one}/answers", json=wrong)).json()["status"] == "input_required"
        answered = (await rest("POST", f"{one}/answers", json=yes)).json()
        assert (answered["status"], answered["questions"]) == ("working", {})


async def test_who_may_only_list_sees_neither_arguments_nor_results_of_others(database, settings):
    """M07, T01"""
    async with a_front(database, settings) as front:
        rest = await front.caller()
        body = {"tool": "context_create", "arguments": {"title": "canary-title"}}
        one = f"{TASKS}/{(await rest('POST', TASKS, json=body)).json()['id']}"
        await front.run(one.rpartition("/")[2])
        stranger = await front.caller("tools:*")
        assert (await stranger("GET", one)).status_code == 404
        assert (await stranger("GET", TASKS)).json()["items"] == []
        assert (await stranger("GET", f"{TASKS}?of_all=true")).status_code == 403
        assert (await stranger("POST", f"{one}/cancel")).status_code == 404
        lister = await front.caller("tasks:read")
        listed = await lister("GET", f"{TASKS}?of_all=true")
        assert [task["tool"] for task in listed.json()["items"]] == ["context_create"]
        seen = await lister("GET", one)
        assert (seen.json()["arguments"], seen.json()["result"]) == (None, None)
        assert "canary" not in listed.text + seen.text
        assert (await lister("POST", f"{one}/cancel")).status_code == 403
        auditor = await front.caller("tasks:read", "tasks:payload")
        assert (await auditor("GET", one)).json()["arguments"] == body["arguments"]
        operator = await front.caller(grants=(), roles=("operator",))
        cancelled = await operator("POST", f"{one}/cancel")
        assert (cancelled.status_code, cancelled.json()["arguments"]) == (200, None)


async def test_a_task_is_refused_as_the_call_itself_would_be(database, settings):
    async with a_front(database, settings) as front:
        rest, narrow = await front.caller(), await front.caller("tools:read:event_list")
        for who, body, status in (
            (rest, {"tool": "no_such_tool"}, 404),
            (narrow, {"tool": "context_create", "arguments": {"title": "x"}}, 404),
            (rest, {"tool": "context_create", "arguments": {"colour": "red"}}, 422),
            (rest, {"tool": "tools_call", "arguments": {"name": "context_list"}}, 422),
            (rest, {"tool": "context_list", "can_answer": ["telepathy"]}, 422),
        ):
            assert (await who("POST", TASKS, json=body)).status_code == status, body
        assert (await rest("GET", f"{TASKS}?of_all=true")).json()["items"] == []


async def test_a_task_runs_as_the_person_who_asked_for_it(database, settings):
    """A22: also in the worker, and for a key that acts for a person."""
    async with a_front(database, settings) as front, serve(upstream := Shown()) as url:
        rest = await front.caller()
        integration = {
            "name": "metrics",
            "system": "prometheus",
            "credential_policy": "personal_required",
            "options": {"base_url": url},
            "credentials": {"bearer_token": "of-the-service"},
        }
        assert (await rest("POST", "/api/v1/integrations", json=integration)).status_code == 201
        user = {"username": "alice", "name": "Alice", "roles": ["developer"]}
        alice = (await rest("POST", "/api/v1/users", json=user)).json()["id"]
        key = await front.caller("*", user_id=UUID(alice))
        body = {"tool": "prometheus_query", "arguments": {"query": "up"}}
        assert (await key("POST", TASKS, json=body)).status_code == 403
        own = {"credentials": {"bearer_token": "of-alice-herself"}}
        assert (await key("PUT", "/api/v1/me/credentials/metrics", json=own)).status_code == 200
        task = (await key("POST", TASKS, json=body)).json()["id"]
        await front.worker.integration_watch.refresh()
        await front.run(task)
        assert (await key("GET", f"{TASKS}/{task}")).json()["status"] == "completed"
        assert upstream.shown == ["Bearer of-alice-herself"]


async def test_a_task_may_no_more_than_the_token_that_it_was_asked_for_with(database, settings):
    """The worker has no token, and must not forget what it was for."""
    async with a_front(database, settings) as front:
        rest = await front.caller()
        user = {"username": "alice", "name": "Alice", "roles": ["owner"], "password": PASSWORD}
        assert (await rest("POST", "/api/v1/users", json=user)).status_code == 201
        anothers = (await rest("POST", "/api/v1/contexts", json={"title": "not Alice's"})).json()["id"]
        body = {"tool": "context_get", "arguments": {"context_id": anothers}}
        ended = []
        for scopes in ((), ("tools:read:*", "contexts:read")):
            alice = await front.signed_in("alice", PASSWORD, *scopes)
            task = (await alice("POST", TASKS, json=body)).json()["id"]
            await front.run(task)
            ended.append((await alice("GET", f"{TASKS}/{task}")).json())
    # An owner reaches the contexts of the whole tenant; a token for less does not.
    assert [one["error_code"] for one in ended] == [None, "not_found"]
