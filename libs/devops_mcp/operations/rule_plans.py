"""What a rule would do about an event: its action with the event's fields, and what stands against it.

The one way to that, for rules that are written, tried out and started alike.
"""

import json
from dataclasses import dataclass
from typing import assert_never

import structlog

from devops_mcp.adapters.base import Effect
from devops_mcp.events.model import Event
from devops_mcp.models.base import JsonObject
from devops_mcp.models.errors import InvalidInput, NotFound, PlatformError, Violation
from devops_mcp.models.principals import Principal
from devops_mcp.models.rules import Action, NotificationAction, RuleDraft, ToolAction, WebhookAction
from devops_mcp.operations import event_log, webhook_endpoints
from devops_mcp.operations.arguments import validate
from devops_mcp.operations.catalogue import CatalogueEntry
from devops_mcp.operations.event_types import require_possible
from devops_mcp.operations.requester import Requester
from devops_mcp.operations.templates import check as check_template
from devops_mcp.operations.templates import fill, fill_text
from devops_mcp.operations.tools import ToolService

WRITE = "rules:write"
DESTRUCTIVE = "rules:destructive"
MAX_ARGUMENTS = 20_000
"""Bytes of a rule's arguments, before anything is filled in."""
MAX_FILLED = 65_536
"""Bytes of the arguments of a call."""
_MAX_TITLE, _MAX_TEXT = 300, 10_000
_WHERE = "body.action"
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Plan:
    """The action as it would be done, with nothing left to fill in; or why it cannot be, and then `action` is as far as it came."""

    action: Action
    problem: str | None = None


class RulePlanner:
    """Plans with the tools of this process, and the rights that principals have now."""

    def __init__(self, tools: ToolService) -> None:
        self._tools = tools

    def check(self, principal: Principal, draft: RuleDraft) -> None:
        """Raise `InvalidInput` for what no event can have, and an action that could never be done, or not as the principal."""
        require_possible(draft.match.types, "body.match.types")
        action = draft.action
        match action:
            case ToolAction():
                self._check_tool(principal, action)
            case NotificationAction():
                for name in ("title", "text", "subject"):
                    check_template(getattr(action, name), f"{_WHERE}.{name}")
            case WebhookAction():
                if not principal.may(webhook_endpoints.WRITE):
                    raise _wrong("kind", f"{principal.name} lacks the permission {webhook_endpoints.WRITE!r}")
            case _:
                assert_never(action)

    def loses(self, principal: Principal, action: Action) -> bool:
        """Whether the action calls a tool that may lose something; a tool that the principal cannot reach loses nothing."""
        if not isinstance(action, ToolAction):
            return False
        try:
            return self._entry(principal, action).tool.effect is Effect.DESTRUCTIVE
        except NotFound:
            return False

    def plan(
        self, principal: Principal, action: Action, event: Event, document: JsonObject, key: str
    ) -> Plan:
        """What is done about the event, as the principal. `key` marks the call, so that it is not made twice."""
        if (lacks := _lacking(principal)) is not None:
            return Plan(action, f"its owner {principal.name} lacks the permission {lacks!r}")
        try:
            match action:
                case ToolAction():
                    return self._plan_call(principal, action, document, key)
                case NotificationAction():
                    return Plan(_filled_notification(action, event, document))
                case WebhookAction():
                    return _plan_delivery(principal, action)
                case _:
                    assert_never(action)
        except InvalidInput as error:
            return Plan(action, error.message)
        except Exception:  # the border to adapters: what checks a tool's arguments may be somebody else's, the event is everybody's
            log.exception("rule could not be planned", event_id=str(event.id))
            return Plan(action, "it could not be planned; the operator finds the reason in the log")

    def _plan_call(self, principal: Principal, action: ToolAction, document: JsonObject, key: str) -> Plan:
        arguments = fill(action.arguments, document)
        try:
            entry = self._entry(principal, action)
        except NotFound:
            return Plan(
                action, f"its owner {principal.name} may not call {action.tool}, or there is no such tool"
            )
        if entry.tool.effect is not Effect.READ:
            arguments.setdefault("idempotency_key", key)
        filled = action.model_copy(update={"arguments": arguments})
        if _size(arguments) > MAX_FILLED:
            return Plan(action, f"the arguments are larger than {MAX_FILLED} bytes")
        if entry.tool.effect is Effect.DESTRUCTIVE and not (
            action.destructive and principal.may(DESTRUCTIVE)
        ):
            return Plan(
                filled, f"{action.tool} may lose something, and nobody who may has allowed this rule to"
            )
        try:
            self._tools.check(principal, entry, arguments)
        except PlatformError as error:
            return Plan(filled, error.message)
        return Plan(filled)

    def _check_tool(self, principal: Principal, action: ToolAction) -> None:
        if _size(action.arguments) > MAX_ARGUMENTS:
            raise _wrong("arguments", f"are larger than {MAX_ARGUMENTS} bytes")
        has_places = check_template(action.arguments, f"{_WHERE}.arguments")
        try:
            entry = self._entry(principal, action)
        except NotFound as error:
            raise _wrong("tool", error.message) from None
        if not entry.tool.needs_grant or entry.tool.relays:
            raise _wrong("tool", f"{action.tool} leads to other tools: name the tool itself")
        if entry.tool.ask_first is not None:
            raise _wrong("tool", f"{action.tool} asks its caller, and nobody answers for a rule")
        if entry.tool.effect is Effect.DESTRUCTIVE and not action.destructive:
            raise _wrong(
                "destructive",
                f"{action.tool} may lose something, and nobody is asked when a rule calls it: "
                f"say so with true, which takes the permission {DESTRUCTIVE!r}",
            )
        _check_arguments(entry, action.arguments, has_places=has_places)

    def _entry(self, principal: Principal, action: ToolAction) -> CatalogueEntry:
        return self._tools.get(Requester(principal), action.tool, listed=False)


def document_of(event: Event) -> JsonObject:
    """The event as paths of rules see it."""
    document: JsonObject = event.model_dump(mode="json", exclude={"tenant_id"})
    return document


def _size(arguments: JsonObject) -> int:
    # Not by orjson, which has no integers beyond 64 bits: an event may.
    return len(json.dumps(arguments, ensure_ascii=False).encode())


def _lacking(principal: Principal) -> str | None:
    """What an owner of rules needs, whatever they do, and has not."""
    if not principal.may(WRITE):
        return WRITE
    return None if principal.may(event_log.READ) else event_log.READ


def _plan_delivery(principal: Principal, action: WebhookAction) -> Plan:
    if principal.may(webhook_endpoints.WRITE):
        return Plan(action)
    return Plan(action, f"its owner {principal.name} lacks the permission {webhook_endpoints.WRITE!r}")


def _filled_notification(
    action: NotificationAction, event: Event, document: JsonObject
) -> NotificationAction:
    subject = event.subject if action.subject is None else fill_text(action.subject, document)
    return action.model_copy(
        update={
            "title": fill_text(action.title, document)[:_MAX_TITLE],
            "text": fill_text(action.text, document)[:_MAX_TEXT],
            "subject": subject[:_MAX_TITLE] or event.subject,
        }
    )


def _check_arguments(entry: CatalogueEntry, arguments: JsonObject, *, has_places: bool) -> None:
    """All of them, or where an event decides what they will be, at least their names."""
    try:
        if not has_places:
            validate(entry, arguments)
    except InvalidInput as error:
        raise InvalidInput(
            error.message, tuple(Violation(f"{_WHERE}.{v.where}", v.problem) for v in error.violations)
        ) from None
    known = entry.tool.params.model_fields
    if entry.tool.params.model_config.get("extra") == "forbid":
        for name in arguments:
            if name not in known:
                raise _wrong(f"arguments.{name}", f"is no argument of {entry.tool.name}")


def _wrong(where: str, problem: str) -> InvalidInput:
    return InvalidInput(f"{_WHERE}.{where}: {problem}", (Violation(f"{_WHERE}.{where}", problem),))
