"""Rules: which events start which call, notification or delivery; what they did, and what they would do."""

from typing import Literal, TypeAlias
from uuid import UUID

from devops_mcp.models.base import Model
from devops_mcp.models.pages import Page
from devops_mcp.models.rules import Rule, RuleDraft, RuleRun, RulesWanted, RunOutcome
from devops_mcp.operations.rule_dry_runs import DryRun, EventRange
from rest_api.endpoint import AnyEndpoint, Call, Endpoint, NoBody, NoParams, Nothing
from rest_api.listing import ByAge, Listing

TAG = "rules"


class OneRule(Model):
    rule_id: UUID


RuleSort: TypeAlias = Literal["-created_at", "created_at", "-updated_at", "updated_at", "-name", "name"]


class RulePage(RulesWanted, Listing[RuleSort]):
    """A page of rules. `cursor` is `next_cursor` of the page before."""

    sort: RuleSort = "-created_at"


class RuleRunPage(OneRule, ByAge):
    """A page of a rule's runs, newest first, with this outcome. `cursor` is `next_cursor` of the page before."""

    outcome: RunOutcome | None = None


class DraftDryRun(EventRange):
    """A rule that is not written yet, and which stored events to try it on."""

    rule: RuleDraft


async def create_rule(call: Call[NoParams, RuleDraft]) -> Rule:
    """Create a rule that acts as the caller, with the rights that the caller has whenever it acts.

    Calling a tool that may lose something takes `destructive: true` and the permission `rules:destructive`.
    """
    return await call.platform.rules.create(call.principal, call.body)


async def list_rules(call: Call[RulePage, NoBody]) -> Page[Rule]:
    """List the tenant's rules, newest first unless `sort` says otherwise."""
    params = call.params
    return await call.platform.rules.page(
        call.principal, limit=params.limit, order=params.order, wanted=params.part(RulesWanted)
    )


async def get_rule(call: Call[OneRule, NoBody]) -> Rule:
    """Get one rule."""
    return await call.platform.rules.get(call.principal, call.params.rule_id)


async def replace_rule(call: Call[OneRule, RuleDraft]) -> Rule:
    """Say a rule anew; from then on it acts as the caller."""
    return await call.platform.rules.replace(call.principal, call.params.rule_id, call.body)


async def delete_rule(call: Call[OneRule, NoBody]) -> Nothing:
    """Delete a rule; its runs are not shown any longer. What it has started goes on."""
    await call.platform.rules.delete(call.principal, call.params.rule_id)
    return Nothing()


async def enable_rule(call: Call[OneRule, NoBody]) -> Rule:
    """Let a rule act again; from then on it acts as the caller."""
    return await call.platform.rules.enable(call.principal, call.params.rule_id)


async def disable_rule(call: Call[OneRule, NoBody]) -> Rule:
    """Stop a rule. What it has started goes on."""
    return await call.platform.rules.disable(call.principal, call.params.rule_id)


async def list_rule_runs(call: Call[RuleRunPage, NoBody]) -> Page[RuleRun]:
    """List what a rule made of events, newest first unless `sort` says otherwise. It is kept for 30 days."""
    params = call.params
    return await call.platform.rules.runs(
        call.principal, params.rule_id, outcome=params.outcome, order=params.order, limit=params.limit
    )


async def dry_run_rule(call: Call[OneRule, EventRange]) -> DryRun:
    """Try a rule on stored events; nothing is done. Says which it means and what exactly it would do about them."""
    return await call.platform.rule_dry_runs.of_rule(call.principal, call.params.rule_id, call.body)


async def dry_run_draft(call: Call[NoParams, DraftDryRun]) -> DryRun:
    """Try a rule that is not written yet on stored events; nothing is done."""
    return await call.platform.rule_dry_runs.of_draft(call.principal, call.body.rule, call.body)


_ALL = "/api/v1/rules"
_ONE = f"{_ALL}/{{rule_id}}"
RULES: tuple[AnyEndpoint, ...] = (
    Endpoint("POST", _ALL, TAG, create_rule, Rule, body=RuleDraft, status=201, errors=(409,)),
    Endpoint("GET", _ALL, TAG, list_rules, Page[Rule], params=RulePage),
    Endpoint("POST", f"{_ALL}/dry-run", TAG, dry_run_draft, DryRun, body=DraftDryRun),
    Endpoint("GET", _ONE, TAG, get_rule, Rule, params=OneRule, errors=(404,)),
    Endpoint(
        "PUT",
        _ONE,
        TAG,
        replace_rule,
        Rule,
        params=OneRule,
        body=RuleDraft,
        errors=(404,),
        lock=lambda tx, params: tx.rules.lock(params.rule_id),
        needs="rules:write",
    ),
    Endpoint("DELETE", _ONE, TAG, delete_rule, Nothing, params=OneRule, status=204, errors=(404,)),
    Endpoint("POST", f"{_ONE}/enable", TAG, enable_rule, Rule, params=OneRule, errors=(404, 409)),
    Endpoint("POST", f"{_ONE}/disable", TAG, disable_rule, Rule, params=OneRule, errors=(404,)),
    Endpoint(
        "POST", f"{_ONE}/dry-run", TAG, dry_run_rule, DryRun, params=OneRule, body=EventRange, errors=(404,)
    ),
    Endpoint("GET", f"{_ONE}/runs", TAG, list_rule_runs, Page[RuleRun], params=RuleRunPage, errors=(404,)),
)
