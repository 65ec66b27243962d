"""Nothing is lost by a call that nobody confirmed.

Where the caller can be asked, a person confirms by a form. Where it cannot, the call is made twice: with `dry_run`, which says what would
be lost and gives a plan; then with that plan. A plan holds for one tool, the same arguments and the same caller.
"""

import hashlib
from datetime import timedelta

from devops_mcp.adapters.base import DestructiveParams
from devops_mcp.auth.keyring import Keyring, Signer
from devops_mcp.models.base import Clock, JsonObject, utc_now
from devops_mcp.models.conversation import Conversation, Form, FormAnswer
from devops_mcp.models.errors import Forbidden, InvalidInput
from devops_mcp.models.principals import Principal
from devops_mcp.operations.catalogue import CatalogueEntry

PLAN_LASTS = timedelta(minutes=10)
QUESTION = "confirm"
_BESIDE_THE_POINT = {"plan", "dry_run", "idempotency_key"}
_SHOWN_ARGUMENTS = 600
_FIELDS: JsonObject = {
    "type": "object",
    "properties": {"confirm": {"type": "boolean", "title": "Do it", "default": False}},
    "required": ["confirm"],
}


class Confirmation:
    """Asks for it, or takes the plan for it."""

    def __init__(self, keyring: Keyring, *, now: Clock = utc_now) -> None:
        self._signer = Signer(keyring, "plan")
        self._now = now

    def plan(self, principal: Principal, entry: CatalogueEntry, params: DestructiveParams) -> str:
        """What confirms the call with these arguments, for `PLAN_LASTS`."""
        return self._signer.sign(_meant(principal, entry, params), self._now() + PLAN_LASTS)

    async def require(
        self,
        principal: Principal,
        entry: CatalogueEntry,
        params: DestructiveParams,
        conversation: Conversation,
    ) -> None:
        """Return when the call is confirmed. Raises `Forbidden` when it was declined or cannot be, `InvalidInput` for a wrong plan."""
        if params.plan is not None:
            if self._signer.read(params.plan, self._now()) != _meant(principal, entry, params):
                raise InvalidInput("the plan is for other arguments, another tool or another caller")
        elif conversation.can_answer("form"):
            await _ask(entry, params, conversation)
        else:
            raise Forbidden(
                f"{entry.tool.name} loses something and needs confirmation: call it with dry_run, read what it would do, "
                "then call it with the same arguments and the plan that it gave"
            )


async def _ask(entry: CatalogueEntry, params: DestructiveParams, conversation: Conversation) -> None:
    arguments = params.model_dump_json(exclude_defaults=True, exclude=_BESIDE_THE_POINT)
    message = f"{entry.tool.title}: {entry.tool.name} {arguments[:_SHOWN_ARGUMENTS]}"
    answers = await conversation.ask({QUESTION: Form(message=message, fields=_FIELDS)})
    answer = answers[QUESTION]
    if not (
        isinstance(answer, FormAnswer) and answer.action == "accept" and answer.content.get("confirm") is True
    ):
        raise Forbidden(f"{entry.tool.name} was not confirmed; nothing was done")


def _meant(principal: Principal, entry: CatalogueEntry, params: DestructiveParams) -> JsonObject:
    arguments = params.model_dump_json(exclude=_BESIDE_THE_POINT)
    return {
        "tenant": str(principal.tenant_id),
        "principal": str(principal.id),
        "tool": entry.tool.name,
        "arguments": hashlib.sha256(arguments.encode()).hexdigest(),
    }
