"""Rules as their tenant manages them."""

from uuid import UUID

from devops_mcp.cache.changes import Changes
from devops_mcp.models.base import Clock, JsonObject, utc_now
from devops_mcp.models.errors import Conflict, InvalidInput, NotFound, Violation
from devops_mcp.models.ids import new_id
from devops_mcp.models.pages import Order, Page
from devops_mcp.models.permissions import covers
from devops_mcp.models.principals import Principal
from devops_mcp.models.rules import (
    MAX_RULES,
    Rule,
    RuleDraft,
    RuleRun,
    RulesWanted,
    RunOutcome,
    WebhookAction,
)
from devops_mcp.operations import event_log
from devops_mcp.operations.contexts import require
from devops_mcp.operations.deeds import deed, denial, permit
from devops_mcp.operations.rule_book import RULES_URI
from devops_mcp.operations.rule_plans import DESTRUCTIVE, WRITE, RulePlanner
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.transaction import Transaction

READ = "rules:read"


class RuleService:
    """The rules of the principal's tenant. Whoever writes or enables one becomes its owner: it acts with that principal's rights."""

    def __init__(
        self,
        database: Database,
        planner: RulePlanner,
        changes: Changes | None = None,
        *,
        now: Clock = utc_now,
    ) -> None:
        self._database = database
        self._planner = planner
        self._changes = changes
        self._now = now

    async def create(self, principal: Principal, draft: RuleDraft) -> Rule:
        """Raises `InvalidInput` for what could never be done, `Forbidden` for what the principal may not do unattended, `Conflict`."""
        rule_id = new_id()
        await self._permit(principal, rule_id, draft)
        async with self._database.transaction(principal.tenant_id) as tx:
            await _require_endpoint(tx, draft)
            await tx.rules.lock_all()
            if await tx.rules.count() >= MAX_RULES:
                raise Conflict(f"a tenant has at most {MAX_RULES} rules; delete one")
            added = await tx.rules.add(rule_id, principal.id, draft)
            await _record(tx, principal, "rules.create", rule_id, after=added)
        await self._tell(principal.tenant_id)
        return added

    async def page(
        self, principal: Principal, *, limit: int, order: Order, wanted: RulesWanted
    ) -> Page[Rule]:
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            return order.page(await tx.rules.page(wanted, order, limit + 1), limit)

    async def get(self, principal: Principal, rule_id: UUID) -> Rule:
        """Raises `NotFound`."""
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            return existing(await tx.rules.find(rule_id), rule_id)

    async def replace(self, principal: Principal, rule_id: UUID, draft: RuleDraft) -> Rule:
        """Say it anew, as its next version. Raises as `create` does, and `NotFound`."""
        await self._permit(principal, rule_id, draft)
        async with self._database.transaction(principal.tenant_id) as tx:
            before = existing(await tx.rules.lock(rule_id), rule_id)
            await _require_endpoint(tx, draft)
            after = existing(await tx.rules.replace(rule_id, principal.id, draft), rule_id)
            await _record(tx, principal, "rules.replace", rule_id, before, after)
        await self._tell(principal.tenant_id)
        return after

    async def delete(self, principal: Principal, rule_id: UUID) -> None:
        """Remove it; its runs are not shown any longer, and what it has started goes on. Raises `NotFound`."""
        await permit(self._database, principal, WRITE, _target(rule_id))
        async with self._database.transaction(principal.tenant_id) as tx:
            before = existing(await tx.rules.lock(rule_id), rule_id)
            await tx.rules.delete(rule_id)
            await _record(tx, principal, "rules.delete", rule_id, before)
        await self._tell(principal.tenant_id)

    async def enable(self, principal: Principal, rule_id: UUID) -> Rule:
        """Let it act again, as the principal's. Raises as `replace` does: what it says is checked anew."""
        await permit(self._database, principal, WRITE, _target(rule_id))
        await permit(self._database, principal, event_log.READ, _target(rule_id))
        async with self._database.transaction(principal.tenant_id) as tx:
            seen = existing(await tx.rules.find(rule_id), rule_id)
        await self._permit(principal, rule_id, seen)
        async with self._database.transaction(principal.tenant_id) as tx:
            before = existing(await tx.rules.lock(rule_id), rule_id)
            if before.version != seen.version:
                raise Conflict(
                    f"rule {rule_id} was just changed by somebody else; look again", retry_after_s=1
                )
            after = existing(await tx.rules.enable(rule_id, principal.id), rule_id)
            await _record(tx, principal, "rules.enable", rule_id, before, after)
        await self._tell(principal.tenant_id)
        return after

    async def disable(self, principal: Principal, rule_id: UUID) -> Rule:
        """Stop it; what it has started goes on. Raises `NotFound`."""
        await permit(self._database, principal, WRITE, _target(rule_id))
        async with self._database.transaction(principal.tenant_id) as tx:
            before = existing(await tx.rules.lock(rule_id), rule_id)
            after = existing(await tx.rules.disable(rule_id, f"disabled by {principal.name}"), rule_id)
            await _record(tx, principal, "rules.disable", rule_id, before, after)
        await self._tell(principal.tenant_id)
        return after

    async def runs(
        self,
        principal: Principal,
        rule_id: UUID,
        *,
        outcome: RunOutcome | None,
        order: Order,
        limit: int,
    ) -> Page[RuleRun]:
        """What it made of events. Raises `NotFound`."""
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            existing(await tx.rules.find(rule_id), rule_id)
            found = await tx.rule_runs.page(rule_id, outcome, order, limit + 1)
        return order.page(found, limit)

    async def _permit(self, principal: Principal, rule_id: UUID, draft: RuleDraft) -> None:
        """Whoever lets events start something must be allowed to read them, and to do what they start."""
        await permit(self._database, principal, WRITE, _target(rule_id))
        await permit(self._database, principal, event_log.READ, _target(rule_id))
        await self._require_whole(principal, rule_id)
        self._planner.check(principal, draft)
        if self._planner.loses(principal, draft.action):
            await permit(self._database, principal, DESTRUCTIVE, _target(rule_id))

    async def _require_whole(self, principal: Principal, rule_id: UUID) -> None:
        """Raise `Forbidden` for a credential that may do less than whom it stands for, whose rights the rule would have."""
        async with self._database.transaction(principal.tenant_id) as tx:
            owner = await tx.principals.find(principal.id, self._now())
        if owner is None or _is_narrowed(principal, owner):
            why = (
                "is narrowed to less than a rule of its own would have; use another credential to write rules"
            )
            raise await denial(self._database, principal, "rules.write", _target(rule_id), why)

    async def _tell(self, tenant_id: UUID) -> None:
        if self._changes is not None:
            await self._changes.of_resource(tenant_id, RULES_URI)


def existing(rule: Rule | None, rule_id: UUID) -> Rule:
    if rule is None:
        raise NotFound(f"there is no rule {rule_id}")
    return rule


def _is_narrowed(principal: Principal, whole: Principal) -> bool:
    """Whether there is a limit that the whole principal has not, and that keeps it from anything."""
    limits = set(principal.limits) - set(whole.limits)
    return not all(covers(limit, grant) for limit in limits for grant in whole.grants)


async def _require_endpoint(tx: Transaction, draft: RuleDraft) -> None:
    action = draft.action
    if isinstance(action, WebhookAction) and await tx.webhook_endpoints.find(action.endpoint_id) is None:
        problem = f"there is no webhook endpoint {action.endpoint_id}"
        where = "body.action.endpoint_id"
        raise InvalidInput(f"{where}: {problem}", (Violation(where, problem),))


async def _record(
    tx: Transaction,
    principal: Principal,
    action: str,
    rule_id: UUID,
    before: Rule | None = None,
    after: Rule | None = None,
) -> None:
    states = {"before": before, "after": after}
    about: JsonObject = {name: _about(rule) for name, rule in states.items() if rule is not None}
    await tx.audit.append([deed(principal, action, _target(rule_id), about)])


def _about(rule: Rule) -> JsonObject:
    about: JsonObject = rule.model_dump(mode="json", exclude={"id", "created_at", "updated_at"})
    return about


def _target(rule_id: UUID) -> str:
    return f"rule:{rule_id}"
