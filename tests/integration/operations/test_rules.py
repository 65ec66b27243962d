"""Rules at work, against PostgreSQL and a filesystem that their tools change; the worker's parts are driven by hand."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from devops_mcp.auth.api_keys import generate_key, hash_secret, parse_key
from devops_mcp.cache.changes import Changes
from devops_mcp.cache.notices import Notices
from devops_mcp.cache.redis import open_redis
from devops_mcp.events.messages import MESSAGE, EventReceived, Message, TaskReady
from devops_mcp.events.model import RuleNotified
from devops_mcp.models.base import utc_now
from devops_mcp.models.errors import Conflict, Forbidden, InvalidInput
from devops_mcp.models.event_queries import EventsWanted
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.pages import NEWEST
from devops_mcp.models.principals import ApiKey, Principal, PrincipalKind
from devops_mcp.models.rules import MAX_DEPTH, Rule, RuleDraft, RuleRun
from devops_mcp.models.webhooks import EndpointDraft
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.events import EventIntake, EventProcessor
from devops_mcp.operations.platform import Platform, open_platform
from devops_mcp.operations.requester import Requester
from devops_mcp.operations.rule_book import BookTimes, RuleBook
from devops_mcp.operations.rule_dry_runs import EventRange, RuleDryRuns
from devops_mcp.operations.rule_engine import OWNER_GONE, RuleEngine
from devops_mcp.operations.rule_plans import RulePlanner
from devops_mcp.operations.rules import RuleService
from devops_mcp.operations.task_runner import TaskRunner
from devops_mcp.repositories.api_keys import insert_as_owner
from devops_mcp.repositories.database import Database, open_database
from support.services import settings_for
from support.tenants import add_tenant
from support.webhooks import ORIGIN, SECRET, SOURCE, delivery, failed_build

TENANT = DEFAULT_TENANT_ID
MKDIR = {
    "kind": "tool",
    "tool": "fs_mkdir",
    "arguments": {"path": "work/{{ $.workflow }}-{{ $.run_id }}"},
    "repeat_after_s": 0,
}
TELL = {"kind": "notification", "title": "{{ $.title }}!"}
FRESH = BookTimes(listening_s=0, deaf_s=0)


@dataclass
class Bench:
    """The worker's operations in this process; rules are written by the role of requests."""

    platform: Platform
    app: Database
    rules: RuleService
    processor: EventProcessor
    owner_url: str
    superuser_url: str
    folder: Path

    async def key(self, *grants: str, tenant_id: UUID = TENANT) -> Principal:
        """The principal of a new key."""
        parts = parse_key(generate_key())
        assert parts is not None
        row = ApiKey(
            id=new_id(),
            tenant_id=tenant_id,
            prefix=parts.prefix,
            secret_hash=hash_secret(parts.secret),
            kind=PrincipalKind.SERVICE,
            name="tester",
            grants=grants or ("*",),
            created_at=utc_now(),
        )
        await insert_as_owner(self.owner_url, row)
        async with self.app.transaction(tenant_id) as tx:
            found = await tx.principals.find(row.id, utc_now())
        assert found is not None
        return found

    async def rule(self, owner: Principal, action: dict[str, Any], **more: Any) -> Rule:
        match = more.pop("match", {"types": ["build.finished"]})
        draft = RuleDraft.model_validate({"name": "a rule", "match": match, "action": action, **more})
        return await self.rules.create(owner, draft)

    async def happen(self, *numbers: int, **changes: Any) -> list[UUID]:
        """Let failed builds with these numbers be received and worked off, and all that follows from them."""
        intake = EventIntake(self.app, Metrics())
        events: list[UUID] = []
        for number in numbers:
            build = delivery({**failed_build(str(number)), **changes}, id_=str(number))
            events += (await intake.receive("ci", SOURCE, ORIGIN, (SECRET,), build)).event_ids
        await self.work_off()
        return events

    async def work_off(self) -> list[Message]:
        """Do what the outbox holds until it is empty; what that was."""
        done: list[Message] = []
        while messages := await self._taken():
            received = [message for message in messages if isinstance(message, EventReceived)]
            if received:
                await self.processor.process(TENANT, received)
            for message in messages:
                if isinstance(message, TaskReady):
                    runner = TaskRunner(self.platform.database, self.platform.tools)
                    await runner.run(TENANT, message.task_id, message.id)
            await self.platform.audit.flush()
            done += messages
        return done

    async def _taken(self) -> list[Message]:
        async with self.platform.database.relaying() as relay:
            rows = await relay.take(1_000)
            await relay.remove([row.id for row in rows])
        return [MESSAGE.validate_json(row.message) for row in rows]

    async def runs(self, rule: Rule) -> list[RuleRun]:
        """Oldest first."""
        async with self.app.transaction(TENANT) as tx:
            return (await tx.rule_runs.page(rule.id, None, NEWEST, 100))[::-1]

    async def outcomes(self, rule: Rule) -> list[str]:
        return [run.outcome.value for run in await self.runs(rule)]

    async def told(self) -> list[RuleNotified]:
        async with self.app.transaction(TENANT) as tx:
            found = await tx.events.page(EventsWanted(type="rule.notified"), limit=100)
        return [stored.event for stored in found if isinstance(stored.event, RuleNotified)][::-1]

    def sql(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.superuser_url) as connection:
            cursor = connection.execute(query, values)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def folders(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


@pytest.fixture
async def bench(database, redis_url, tmp_path) -> AsyncIterator[Bench]:
    roots = {"work": {"path": str(tmp_path), "read_only": False}}
    files = {"name": "files", "system": "fs", "options": {"roots": roots}}
    settings = settings_for(database.worker_url, redis_url, [files], embedding_provider="lexical")
    async with (
        open_platform(settings, Metrics(), application="worker") as platform,
        open_database(database.app_url, pool_size=4, application="test") as app,
    ):
        engine = RuleEngine(platform.tools, RuleBook(times=FRESH))
        notices = Notices(platform.redis, Metrics())
        yield Bench(
            platform,
            app,
            RuleService(app, RulePlanner(platform.tools)),
            EventProcessor(platform.database, notices, embeds=False, rules=engine),
            database.owner_url,
            database.superuser_url,
            tmp_path,
        )


async def test_a_rule_calls_its_tool_with_the_events_fields_as_its_owner(bench):
    """L05"""
    owner = await bench.key()
    rule = await bench.rule(owner, MKDIR)
    [event] = await bench.happen(7)
    [run] = await bench.runs(rule)
    assert bench.folders() == {"CI-7"}
    assert (run.event_id, run.version, run.outcome, run.task_status) == (event, 1, "done", "completed")
    assert run.ended_at is not None
    task = await bench.platform.tasks.get(owner, run.task_id)
    assert task.result is not None
    assert task.result.code is None
    called = bench.sql(
        "SELECT actor_id, outcome, arguments -> '@rules' FROM audit_log WHERE action = 'tool.write'"
    )
    assert called == [(owner.id, "ok", [str(rule.id)])]


async def test_only_events_that_are_meant_start_a_rule(bench):
    match = {"types": ["build.*"], "subjects": ["acme/*"], "fields": [{"path": "$.branch", "value": "main"}]}
    rule = await bench.rule(await bench.key(), MKDIR, match=match)
    await bench.happen(1)
    await bench.happen(2, branch="feature")
    assert bench.folders() == {"CI-1"}
    assert await bench.outcomes(rule) == ["done"]


async def test_an_event_that_is_delivered_or_replayed_again_starts_nothing_again(bench):
    """D02"""
    rule = await bench.rule(await bench.key(), MKDIR)
    [event] = await bench.happen(1)
    replays = [EventReceived(id=new_id(), tenant_id=TENANT, event_id=event) for _ in range(3)]
    await asyncio.gather(*(bench.processor.process(TENANT, [replay]) for replay in replays))
    assert await bench.work_off() == []
    assert await bench.outcomes(rule) == ["done"]


async def test_the_same_events_in_parallel_start_each_rule_once_and_keep_to_its_limit(bench):
    rule = await bench.rule(await bench.key(), TELL, limit={"runs": 5, "per_s": 3_600})
    intake = EventIntake(bench.app, Metrics())
    for number in range(12):
        await intake.receive(
            "ci", SOURCE, ORIGIN, (SECRET,), delivery(failed_build(str(number)), id_=str(number))
        )
    messages = [m for m in await bench._taken() if isinstance(m, EventReceived)]
    groups: list[Sequence[EventReceived]] = [messages, messages[::-1], messages[6:], messages[:6]]
    await asyncio.gather(*(bench.processor.process(TENANT, group) for group in groups))
    assert sorted(await bench.outcomes(rule)) == ["done"] * 5 + ["suppressed"] * 7
    assert len(await bench.told()) == 5
    reasons = {run.reason for run in await bench.runs(rule) if run.outcome == "suppressed"}
    assert reasons == {"beyond the rule's limit of 5 in 3600 s"}


async def test_a_notification_is_an_event_of_our_own_that_says_what_led_to_it(bench):
    rule = await bench.rule(await bench.key(), {**TELL, "text": "see {{ $.run_id }}"})
    [event] = await bench.happen(1)
    [told] = await bench.told()
    [run] = await bench.runs(rule)
    assert (told.system, told.subject, told.title, told.text) == (
        "devops-mcp",
        "acme/shop",
        "CI #1 failed on main!",
        "see 1",
    )
    assert (told.rule_id, told.about, told.rules) == (rule.id, event, (rule.id,))
    assert (run.outcome, run.sent_id) == ("done", told.id)


async def test_an_endpoint_without_a_filter_hears_by_rules_only(bench):
    owner = await bench.key()
    draft = EndpointDraft(name="board", url="http://127.0.0.1:9/", filter=None)
    endpoint = await _endpoint(bench, draft)
    rule = await bench.rule(owner, {"kind": "webhook", "endpoint_id": str(endpoint)})
    [event] = await bench.happen(1)
    [run] = await bench.runs(rule)
    assert bench.sql("SELECT id, endpoint_id, event_id FROM webhook_deliveries") == [
        (run.sent_id, endpoint, event)
    ]
    bench.sql("DELETE FROM webhook_endpoints")
    await bench.happen(2)
    assert [run.outcome for run in await bench.runs(rule)] == ["done", "failed"]


async def _endpoint(bench: Bench, draft: EndpointDraft) -> UUID:
    endpoint_id = new_id()
    async with bench.app.transaction(TENANT) as tx:
        await tx.webhook_endpoints.add(endpoint_id, draft, b"sealed")
    return endpoint_id


async def test_what_a_rule_brings_about_never_starts_it_again(bench):
    """A call of its own tool, its own notification, and another rule's that it led to."""
    owner = await bench.key()
    ours = {"types": ["build.*", "tool.called", "rule.notified"]}
    calls = await bench.rule(owner, {**MKDIR, "arguments": {"path": "work/x/{{ $.id }}"}}, match=ours)
    tells = await bench.rule(owner, TELL, match=ours)
    await bench.happen(1)
    about_calls = [(run.outcome, run.reason) for run in await bench.runs(calls)]
    about_tells = [(run.outcome, run.reason) for run in await bench.runs(tells)]
    own = ("suppressed", "the rule itself led to this event")
    assert len(about_calls) == len(about_tells) == 5
    assert about_calls.count(("done", None)) == 2  # for the build, and for the notification of it
    assert about_tells.count(("done", None)) == 2
    assert about_calls.count(own) == about_tells.count(own) == 3


async def test_a_chain_of_rules_ends(bench):
    owner = await bench.key()
    first = await bench.rule(owner, {**TELL, "subject": "step-0"})
    steps = [
        await bench.rule(
            owner,
            {**TELL, "subject": f"step-{n + 1}"},
            match={"types": ["rule.notified"], "subjects": [f"step-{n}"]},
        )
        for n in range(MAX_DEPTH + 1)
    ]
    await bench.happen(1)
    outcomes = [await bench.outcomes(rule) for rule in (first, *steps)]
    assert outcomes == [["done"]] * MAX_DEPTH + [["suppressed"], []]


async def test_the_same_call_is_not_made_again_at_once_unless_the_rule_says_so(bench):
    owner = await bench.key()
    same = {**MKDIR, "arguments": {"path": "work/{{ $.workflow }}"}, "repeat_after_s": 60}
    once = await bench.rule(owner, same)
    always = await bench.rule(owner, {**same, "repeat_after_s": 0})
    await bench.happen(1, 2)
    await bench.happen(3, 4, workflow="other")
    assert await bench.outcomes(once) == ["done", "suppressed", "done", "suppressed"]
    assert await bench.outcomes(always) == ["done"] * 4
    assert {run.reason for run in await bench.runs(once)} == {
        None,
        "the same call was started less than 60 s before",
    }


async def test_an_event_that_lacks_a_field_fails_the_run_and_nothing_else(bench):
    owner = await bench.key()
    lacking = await bench.rule(owner, {**MKDIR, "arguments": {"path": "work/{{ $.nothing }}"}})
    unfit = await bench.rule(owner, {**MKDIR, "arguments": {"path": "{{ $.failed }}"}})
    well = await bench.rule(owner, MKDIR)
    await bench.happen(1)
    assert [run.reason for run in await bench.runs(lacking)] == ["the event has no $.nothing"]
    [failed] = await bench.runs(unfit)
    assert (failed.outcome, failed.task_id) == ("failed", None)
    assert "arguments.path" in str(failed.reason)
    assert await bench.outcomes(well) == ["done"]
    assert bench.sql("SELECT count(*) FROM events WHERE processed_at IS NULL") == [(0,)]


async def test_a_tool_that_cannot_even_be_planned_fails_its_run_and_nothing_else(bench, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("a fault in somebody's validator")

    owner = await bench.key()
    broken = await bench.rule(owner, MKDIR)
    well = await bench.rule(owner, {"kind": "notification", "title": "it failed"})
    tool = bench.platform.tools.get(Requester(owner), MKDIR["tool"], listed=False).tool
    monkeypatch.setattr(tool.params, "model_validate", fail)
    await bench.happen(1)
    [failed] = await bench.runs(broken)
    assert (failed.outcome, failed.task_id) == ("failed", None)
    assert "somebody" not in str(failed.reason)
    assert await bench.outcomes(well) == ["done"]
    assert bench.sql("SELECT count(*) FROM events WHERE processed_at IS NULL") == [(0,)]


async def test_a_tools_own_error_ends_the_run_as_failed(bench):
    rule = await bench.rule(await bench.key(), {**MKDIR, "arguments": {"path": "nowhere/{{ $.run_id }}"}})
    await bench.happen(1)
    [run] = await bench.runs(rule)
    assert (run.outcome, run.task_status) == ("failed", "completed")
    assert run.reason is not None


async def test_a_tool_that_loses_something_needs_both_the_word_and_the_right(bench):
    """A18: whoever wrote it must hold the right when it is written, when it starts and when it runs."""
    (bench.folder / "note").write_text("before")
    losing = {
        "kind": "tool",
        "tool": "fs_write",
        "arguments": {"path": "work/note", "content": "{{ $.run_id }}", "overwrite": True},
    }
    operator = await bench.key("rules:write", "rules:read", "events:read", "tools:*")
    admin = await bench.key()
    with pytest.raises(InvalidInput, match="may lose something"):
        await bench.rule(admin, losing)
    with pytest.raises(Forbidden, match="rules:destructive"):
        await bench.rule(operator, {**losing, "destructive": True})
    rule = await bench.rule(admin, {**losing, "destructive": True})
    await bench.happen(1)
    assert (bench.folder / "note").read_text() == "1"

    with pytest.raises(Forbidden, match="rules:destructive"):
        await bench.rules.enable(operator, rule.id)
    grants = ["rules:write", "rules:read", "events:read", "tools:*"]
    bench.sql("UPDATE api_keys SET grants = %s WHERE id = %s", grants, admin.id)
    await bench.happen(2)
    bench.sql("UPDATE api_keys SET grants = '{*}' WHERE id = %s", admin.id)
    intake = EventIntake(bench.app, Metrics())
    await intake.receive("ci", SOURCE, ORIGIN, (SECRET,), delivery(failed_build("3"), id_="3"))
    await bench.processor.process(TENANT, [m for m in await bench._taken() if isinstance(m, EventReceived)])
    bench.sql("UPDATE api_keys SET grants = %s WHERE id = %s", grants, admin.id)
    await bench.work_off()
    assert (bench.folder / "note").read_text() == "1"
    runs = await bench.runs(rule)
    assert [run.outcome for run in runs] == ["done", "failed", "failed"]
    assert "may lose something" in str(runs[1].reason)
    assert "forbidden" in str(runs[2].reason)


async def test_a_revoked_owner_stops_the_rule_until_somebody_else_takes_it_over(bench):
    owner, other = await bench.key(), await bench.key()
    rule = await bench.rule(owner, MKDIR)
    bench.sql("UPDATE api_keys SET revoked_at = now() WHERE id = %s", owner.id)
    await bench.happen(1, 2)
    await bench.happen(3)
    stopped = await bench.rules.get(other, rule.id)
    assert (stopped.enabled, stopped.disabled_reason) == (False, OWNER_GONE)
    assert [(run.outcome, run.reason) for run in await bench.runs(rule)] == [("failed", OWNER_GONE)] * 2
    assert bench.sql(
        "SELECT actor, arguments ->> 'reason' FROM audit_log WHERE action = 'rules.disable'"
    ) == [("worker", OWNER_GONE)]
    enabled = await bench.rules.enable(other, rule.id)
    await bench.happen(4)
    assert (enabled.owner_id, enabled.disabled_reason) == (other.id, None)
    assert bench.folders() == {"CI-4"}


async def test_rights_that_the_owner_has_lost_are_missed_when_the_rule_starts(bench):
    """A18"""
    owner = await bench.key()
    rule = await bench.rule(owner, MKDIR)
    for number, grants in enumerate(
        [["rules:*", "events:read"], ["rules:read", "events:read", "tools:*"], ["rules:*", "tools:*"]]
    ):
        bench.sql("UPDATE api_keys SET grants = %s WHERE id = %s", grants, owner.id)
        await bench.happen(number)
    reasons = [str(run.reason) for run in await bench.runs(rule)]
    assert bench.folders() == set()
    assert "may not call fs_mkdir" in reasons[0]
    assert "'rules:write'" in reasons[1]
    assert "'events:read'" in reasons[2]
    bench.sql("UPDATE api_keys SET grants = '{*}' WHERE id = %s", owner.id)
    await bench.happen(4)
    assert await bench.outcomes(rule) == ["failed"] * 3 + ["done"]


async def test_a_rule_that_was_changed_disabled_or_deleted_starts_nothing_by_its_old_words(bench):
    """What the worker remembers may be old."""
    owner = await bench.key()
    engine = RuleEngine(bench.platform.tools, RuleBook(times=BookTimes(deaf_s=3_600)))
    bench.processor = EventProcessor(
        bench.platform.database, Notices(bench.platform.redis, Metrics()), embeds=False, rules=engine
    )
    changed, disabled, deleted = [await bench.rule(owner, TELL) for _ in range(3)]
    await bench.happen(1)
    assert len(await bench.told()) == 3
    narrower = RuleDraft.model_validate({"name": "x", "match": {"types": ["alert.*"]}, "action": TELL})
    await bench.rules.replace(owner, changed.id, narrower)
    await bench.rules.disable(owner, disabled.id)
    await bench.rules.delete(owner, deleted.id)
    await bench.happen(2)
    assert len(await bench.told()) == 3


async def test_the_worker_hears_of_a_new_rule_and_asks_for_none_again_until_then(bench, redis_url):
    owner = await bench.key()
    async with open_redis(redis_url, command_timeout_s=2) as redis, asyncio.timeout(30):
        book = RuleBook(Changes(redis), times=BookTimes(listening_s=3_600, deaf_s=0))
        async with book.running():
            while not book._listening:
                await asyncio.sleep(0.01)
            async with bench.app.transaction(TENANT) as tx:
                known = await book.of(tx)
                assert known.rules == []
                assert await book.of(tx) is known
            announcing = RuleService(bench.app, RulePlanner(bench.platform.tools), Changes(redis))
            draft = RuleDraft.model_validate({"name": "x", "match": {}, "action": TELL})
            rule = await announcing.create(owner, draft)
            while not (await _rules_of(bench, book)):
                await asyncio.sleep(0.01)
            assert [known.id for known in await _rules_of(bench, book)] == [rule.id]


async def _rules_of(bench: Bench, book: RuleBook) -> Sequence[Rule]:
    async with bench.app.transaction(TENANT) as tx:
        return (await book.of(tx)).rules


async def test_rules_of_one_tenant_never_hear_of_anothers_events(bench, database):
    """I9"""
    tenant = new_id()
    add_tenant(database, tenant)
    stranger = await bench.key(tenant_id=tenant)
    rule = await bench.rule(stranger, TELL)
    await bench.happen(1)
    async with bench.app.transaction(tenant) as tx:
        assert await tx.rule_runs.page(rule.id, None, NEWEST, 10) == []
    assert await bench.told() == []


async def test_a_dry_run_shows_exactly_what_is_called_and_does_nothing(bench):
    owner = await bench.key()
    match = {"types": ["build.*"], "fields": [{"path": "$.branch", "value": "main"}]}
    rule = await bench.rule(owner, MKDIR, match=match, enabled=False)
    events = await bench.happen(1, 2)
    await bench.happen(3, branch="other")
    dry = RuleDryRuns(bench.app, RulePlanner(bench.platform.tools))
    shown = await dry.of_rule(owner, rule.id, EventRange())
    draft = await dry.of_draft(
        owner, RuleDraft.model_validate({"name": "x", "match": match, "action": MKDIR}), EventRange()
    )
    first = await dry.of_rule(owner, rule.id, EventRange(limit=1))
    behind = await dry.of_rule(owner, rule.id, EventRange(cursor=UUID(first.next_cursor)))
    assert (bench.folders(), bench.sql("SELECT count(*) FROM tasks")) == (set(), [(0,)])
    assert [item.event_id for item in shown.items] == events[::-1]
    assert (shown.scanned, shown.next_cursor, {item.problem for item in shown.items}) == (3, None, {None})
    assert [item.action.arguments["path"] for item in draft.items] == ["work/CI-2", "work/CI-1"]
    assert (*first.items, *behind.items) == shown.items

    await bench.rules.enable(owner, rule.id)
    [later] = await bench.happen(4)
    [foreseen] = (await dry.of_rule(owner, rule.id, EventRange(limit=1))).items
    [run] = await bench.runs(rule)
    task = await bench.platform.tasks.get(owner, run.task_id)
    assert (foreseen.event_id, foreseen.action.arguments) == (later, task.arguments)


async def test_a_dry_run_says_what_stands_in_the_way(bench):
    owner = await bench.key("rules:*", "events:read", "tools:write:fs_mkdir")
    rule = await bench.rule(owner, {**MKDIR, "arguments": {"path": "work/{{ $.nothing }}"}}, enabled=False)
    await bench.happen(1)
    dry = RuleDryRuns(bench.app, RulePlanner(bench.platform.tools))
    missing = (await dry.of_rule(owner, rule.id, EventRange())).items[0].problem
    bench.sql("UPDATE api_keys SET revoked_at = now() WHERE id = %s", owner.id)
    gone = (await dry.of_rule(owner, rule.id, EventRange())).items[0].problem
    assert (missing, gone) == ("the event has no $.nothing", OWNER_GONE)


IMPOSSIBLE: tuple[tuple[dict[str, Any], str], ...] = (
    ({**MKDIR, "tool": "no_such_tool"}, "tool"),
    ({**MKDIR, "tool": "tools_call"}, "tool"),
    ({**MKDIR, "tool": "task_start"}, "tool"),
    ({**MKDIR, "arguments": {"path": 5}}, "arguments.path"),
    ({**MKDIR, "arguments": {"path": "{{ $.x }}", "mode": "755"}}, "arguments.mode"),
    ({**MKDIR, "arguments": {"path": "{{ subject }}"}}, "arguments.path"),
    ({**MKDIR, "arguments": {"path": "x" * 20_001}}, "arguments"),
    ({**TELL, "title": "{{ $..x }}"}, "title"),
    ({"kind": "webhook", "endpoint_id": str(new_id())}, "endpoint_id"),
)


async def test_what_could_never_be_done_is_refused_when_it_is_written(bench):
    owner = await bench.key()
    for action, where in IMPOSSIBLE:
        with pytest.raises(InvalidInput) as refused:
            await bench.rule(owner, action)
        assert [violation.where for violation in refused.value.violations] == [f"body.action.{where}"]


async def test_a_narrowed_credential_writes_no_rule_that_could_do_more(bench):
    """A18: a rule has all the rights of its owner."""
    owner = await bench.key()
    wide = owner.model_copy(update={"limits": (("*",),)})
    narrow = owner.model_copy(update={"limits": (("rules:*", "events:read"),)})
    unknown = owner.model_copy(update={"id": new_id()})
    for credential in (narrow, unknown):
        with pytest.raises(Forbidden, match="narrowed"):
            await bench.rule(credential, TELL)
    assert (await bench.rule(wide, TELL)).owner_id == owner.id


async def test_what_starts_at_once_is_bounded(bench, monkeypatch):
    monkeypatch.setattr("devops_mcp.operations.rule_engine.MAX_AT_ONCE", 2)
    rule = await bench.rule(await bench.key(), TELL)
    await bench.happen(1, 2, 3)
    assert sorted(await bench.outcomes(rule)) == ["done", "done", "failed"]


async def test_a_tenant_has_a_bounded_number_of_rules(bench, monkeypatch):
    monkeypatch.setattr("devops_mcp.operations.rules.MAX_RULES", 1)
    owner = await bench.key()
    await bench.rule(owner, TELL)
    with pytest.raises(Conflict):
        await bench.rule(owner, TELL)
