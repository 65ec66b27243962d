"""Rules at work: in the transaction that processes events, so that what they start is started once, whatever dies or is delivered again."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias, assert_never
from uuid import UUID

import structlog

from devops_mcp.events.model import Event, RuleNotified, ToolCalled
from devops_mcp.models.base import OWN_SYSTEM, Clock, JsonObject, utc_now
from devops_mcp.models.ids import new_id
from devops_mcp.models.principals import Principal
from devops_mcp.models.rules import MAX_DEPTH, NotificationAction, Rule, RunOutcome, ToolAction, WebhookAction
from devops_mcp.models.tasks import NewTask, TaskOrigin
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.deeds import deed_of_ours
from devops_mcp.operations.rule_book import RuleBook, means
from devops_mcp.operations.rule_plans import Plan, RulePlanner, document_of
from devops_mcp.operations.tasks import KEPT_FOR, MAX_REASON, start_tasks
from devops_mcp.operations.tools import ToolService
from devops_mcp.operations.webhook_endpoints import notify_all
from devops_mcp.repositories.rule_runs import NewRun
from devops_mcp.repositories.transaction import Transaction

log = structlog.get_logger()
Traces: TypeAlias = Mapping[UUID, str | None]
MAX_AT_ONCE = 2_000
"""What the rules of a tenant start by the events that are processed together: others wait for this worker too."""
OWNER_GONE = "its owner may no longer act: revoked, suspended, expired or gone"


@dataclass(slots=True)
class Occasion:
    """A rule that means an event, what it would do about it, and what becomes of that."""

    rule: Rule
    event: Event
    plan: Plan
    run_id: UUID = field(default_factory=new_id)
    held_back: str | None = None
    task_id: UUID | None = None
    sent_id: UUID | None = None

    @property
    def rules(self) -> tuple[UUID, ...]:
        """Those that led to what is done about it."""
        return (*_led_by(self.event), self.rule.id)

    @property
    def digest(self) -> bytes | None:
        """What tells a repeated call."""
        action = self.plan.action
        if not isinstance(action, ToolAction):
            return None
        arguments = {name: value for name, value in action.arguments.items() if name != "idempotency_key"}
        return hashlib.sha256(json.dumps([action.tool, arguments], sort_keys=True).encode()).digest()

    @property
    def goes(self) -> bool:
        return self.held_back is None and self.plan.problem is None


class RuleEngine:
    """Starts what the rules of a tenant want to be started. `book` remembers them."""

    def __init__(
        self,
        tools: ToolService,
        book: RuleBook | None = None,
        metrics: Metrics | None = None,
        *,
        now: Clock = utc_now,
    ) -> None:
        self._planner = RulePlanner(tools)
        self._book = book or RuleBook()
        self._metrics = metrics
        self._now = now

    async def react(self, tx: Transaction, events: Sequence[Event], traces: Traces) -> None:
        """Start what is to be done about these events, which are processed in this transaction. `traces` are traceparents by event id."""
        meant = (await self._book.of(tx)).meaning(events)
        if not meant:
            return
        current = {rule.id: rule for rule in await tx.rules.lock_enabled(sorted({r.id for r, _ in meant}))}
        fresh = await _unknown(
            tx,
            [
                (current[rule.id], event)
                for rule, event in meant
                if rule.id in current
                and (rule.version == current[rule.id].version or means(current[rule.id].match, event))
            ],
        )
        occasions = await self._planned(tx, fresh)
        await _hold_back(tx, occasions)
        await self._start(tx, [one for one in occasions if one.goes], traces)
        runs = [_run(one) for one in occasions]
        await tx.rule_runs.add(runs)
        if self._metrics is not None:
            for outcome, count in Counter(run.outcome for run in runs).items():
                self._metrics.rule_runs(outcome, count)

    async def _planned(self, tx: Transaction, fresh: Sequence[tuple[Rule, Event]]) -> list[Occasion]:
        owners = {
            owner_id: await tx.principals.find(owner_id, self._now())
            for owner_id in sorted({rule.owner_id for rule, _ in fresh})
        }
        for rule in {rule.id: rule for rule, _ in fresh}.values():
            if owners[rule.owner_id] is None:
                await _stop(tx, rule)
        if len(fresh) > MAX_AT_ONCE:
            log.warning("too much started at once", tenant_id=str(tx.tenant_id), count=len(fresh))
        documents = {
            id_: document_of(event) for id_, event in {event.id: event for _, event in fresh}.items()
        }
        return [
            Occasion(
                rule,
                event,
                self._plan(rule, event, documents[event.id], owners[rule.owner_id])
                if position < MAX_AT_ONCE
                else Plan(rule.action, f"more than {MAX_AT_ONCE} actions would have started at once"),
            )
            for position, (rule, event) in enumerate(fresh)
        ]

    def _plan(self, rule: Rule, event: Event, document: JsonObject, owner: Principal | None) -> Plan:
        if owner is None:
            return Plan(rule.action, OWNER_GONE)
        return self._planner.plan(
            owner, rule.action, event, document, call_key(rule.id, rule.version, event.id)
        )

    async def _start(self, tx: Transaction, occasions: Sequence[Occasion], traces: Traces) -> None:
        calls: list[tuple[NewTask, str | None]] = []
        told: list[tuple[RuleNotified, str | None]] = []
        sent: list[tuple[Occasion, WebhookAction]] = []
        for one in occasions:
            trace = traces.get(one.event.id)
            match one.plan.action:
                case ToolAction() as action:
                    calls.append((self._task(one, action), trace))
                case NotificationAction() as action:
                    told.append((self._notification(one, action), trace))
                case WebhookAction() as action:
                    sent.append((one, action))
                case _:
                    assert_never(one.plan.action)
        if calls:
            await start_tasks(tx, *zip(*calls, strict=True))
        if told:
            await tx.events.publish(*zip(*told, strict=True))
        await _deliver(tx, sent, traces)

    def _task(self, occasion: Occasion, action: ToolAction) -> NewTask:
        occasion.task_id = new_id()
        return NewTask(
            id=occasion.task_id,
            owner_id=occasion.rule.owner_id,
            tool=action.tool,
            arguments=action.arguments,
            priority=action.priority,
            origin=TaskOrigin(run_id=occasion.run_id, rules=occasion.rules, destructive=action.destructive),
            expires_at=self._now() + KEPT_FOR,
        )

    def _notification(self, occasion: Occasion, action: NotificationAction) -> RuleNotified:
        rule = occasion.rule
        occasion.sent_id = new_id()
        return RuleNotified(
            id=occasion.sent_id,
            tenant_id=occasion.event.tenant_id,
            system=OWN_SYSTEM,
            source=OWN_SYSTEM,
            subject=action.subject or occasion.event.subject,
            title=action.title,
            url=occasion.event.url,
            occurred_at=self._now(),
            rule_id=rule.id,
            rule=rule.name,
            about=occasion.event.id,
            text=action.text,
            rules=occasion.rules,
        )


def call_key(rule_id: UUID, version: int, event_id: UUID) -> str:
    """The idempotency key of a rule's call: one for each version of the rule and each event."""
    return f"rule:{rule_id}:{version}:{event_id}"


def _led_by(event: Event) -> tuple[UUID, ...]:
    return event.rules if isinstance(event, ToolCalled | RuleNotified) else ()


async def _unknown(tx: Transaction, meant: Sequence[tuple[Rule, Event]]) -> list[tuple[Rule, Event]]:
    """Those of which there is no run: an event may be processed again on purpose."""
    known = (
        await tx.rule_runs.known([(rule.id, event.id, rule.version) for rule, event in meant])
        if meant
        else ()
    )
    return [(rule, event) for rule, event in meant if (rule.id, event.id, rule.version) not in known]


async def _hold_back(tx: Transaction, occasions: Sequence[Occasion]) -> None:
    """Hold back what a rule brought about itself, then what it has just done, then what is beyond its limit; oldest event first."""
    rules = {one.rule.id: one.rule for one in occasions}
    started = await tx.rule_runs.started_within(
        {r.id: timedelta(seconds=r.limit.per_s) for r in rules.values()}
    )
    repeated = await tx.rule_runs.called_within(_calls(occasions))
    for one in occasions:
        if one.plan.problem is not None:
            continue
        one.held_back = _led_back(one) or _repeats(one, repeated) or _beyond(one, started)
        if one.goes:
            started[one.rule.id] += 1
            if one.digest is not None:
                repeated.add((one.rule.id, one.digest))


def _calls(occasions: Sequence[Occasion]) -> list[tuple[UUID, bytes, timedelta]]:
    return [
        (one.rule.id, one.digest, timedelta(seconds=one.plan.action.repeat_after_s))
        for one in occasions
        if one.digest is not None
        and isinstance(one.plan.action, ToolAction)
        and one.plan.action.repeat_after_s
    ]


def _led_back(one: Occasion) -> str | None:
    led_by = _led_by(one.event)
    if one.rule.id in led_by:
        return "the rule itself led to this event"
    return f"{len(led_by)} rules led to this event, one after the other" if len(led_by) >= MAX_DEPTH else None


def _repeats(one: Occasion, repeated: set[tuple[UUID, bytes]]) -> str | None:
    action = one.plan.action
    if not isinstance(action, ToolAction) or not action.repeat_after_s or one.digest is None:
        return None
    if (one.rule.id, one.digest) not in repeated:
        return None
    return f"the same call was started less than {action.repeat_after_s} s before"


def _beyond(one: Occasion, started: Mapping[UUID, int]) -> str | None:
    limit = one.rule.limit
    if started[one.rule.id] < limit.runs:
        return None
    return f"beyond the rule's limit of {limit.runs} in {limit.per_s} s"


async def _stop(tx: Transaction, rule: Rule) -> None:
    """Disable a rule that nobody stands behind any longer, where its tenant sees it."""
    await tx.rules.disable(rule.id, OWNER_GONE)
    about: JsonObject = {"before": {"enabled": True}, "after": {"enabled": False}, "reason": OWNER_GONE}
    await tx.audit.append([deed_of_ours(tx.tenant_id, "rules.disable", f"rule:{rule.id}", about)])
    log.warning("rule disabled", rule_id=str(rule.id), tenant_id=str(tx.tenant_id), reason=OWNER_GONE)


async def _deliver(tx: Transaction, sent: Sequence[tuple[Occasion, WebhookAction]], traces: Traces) -> None:
    """To endpoints; one that has the event already does not get it twice."""
    if not sent:
        return
    enabled = await tx.webhook_endpoints.lock_enabled(sorted({action.endpoint_id for _, action in sent}))
    pairs: dict[tuple[UUID, UUID], Occasion] = {}
    for one, action in sent:
        if action.endpoint_id in enabled:
            pairs.setdefault((action.endpoint_id, one.event.id), one)
        else:
            one.plan = Plan(action, f"there is no enabled webhook endpoint {action.endpoint_id}")
    deliveries = await tx.webhook_deliveries.create(list(pairs)) if pairs else []
    for delivery in deliveries:
        pairs[delivery.endpoint_id, delivery.event_id].sent_id = delivery.id
    await notify_all(tx, deliveries, traces)


def _run(one: Occasion) -> NewRun:
    reason = one.plan.problem or one.held_back
    return NewRun(
        id=one.run_id,
        rule_id=one.rule.id,
        version=one.rule.version,
        event_id=one.event.id,
        outcome=_outcome(one),
        reason=None if reason is None else reason[:MAX_REASON],
        digest=one.digest,
        task_id=one.task_id,
        sent_id=one.sent_id,
    )


def _outcome(one: Occasion) -> RunOutcome:
    if one.plan.problem is not None:
        return RunOutcome.FAILED
    if one.held_back is not None:
        return RunOutcome.SUPPRESSED
    return RunOutcome.STARTED if one.task_id is not None else RunOutcome.DONE
