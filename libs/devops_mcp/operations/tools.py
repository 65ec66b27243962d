"""Calling a tool: may this principal, with these arguments; then call, shape, keep, account for it.

The one way to a tool, whichever transport asks.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeGuard

import orjson
import structlog
from pydantic import JsonValue

from devops_mcp.adapters.base import DestructiveParams, Effect, Params, ReadParams, ToolResult, WriteParams
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.conversation import Answer, InputRequired
from devops_mcp.models.errors import (
    DeadlineExceeded,
    Forbidden,
    Internal,
    NotFound,
    PlatformError,
)
from devops_mcp.models.ids import new_id
from devops_mcp.models.principals import Principal
from devops_mcp.models.results import KeptResult, Truncation
from devops_mcp.observability.caller import set_caller
from devops_mcp.operations.arguments import validate
from devops_mcp.operations.call_ledger import INPUT_REQUIRED, CallLedger
from devops_mcp.operations.caller_rates import CallerRates
from devops_mcp.operations.catalogue import SUITE, Catalogue, CatalogueEntry
from devops_mcp.operations.confirmation import Confirmation
from devops_mcp.operations.integrations import Integration
from devops_mcp.operations.keyed_calls import KeyedCall, KeyedCalls
from devops_mcp.operations.pacing import ANSWER_WITHIN_S, PacedConversation
from devops_mcp.operations.requester import Requester
from devops_mcp.operations.result_indexing import announced
from devops_mcp.operations.shaping import shape
from devops_mcp.operations.tool_outcomes import Relayed, ToolOutcome
from devops_mcp.operations.ttl_cache import TtlCache
from devops_mcp.operations.upstream_access import Acting, UpstreamAccess
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.idempotency import CallKey
from devops_mcp.resilience.shared_timeouts import SharedTimeouts

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ToolLimits:
    """How much room a reader has, how long the whole of a cut result is kept, and how long a call may take."""

    budget_bytes: int = 24_000
    kept_for: timedelta = timedelta(hours=24)
    deadline_s: float = 30.0


class Toolbox:
    """The tools, for the suite's own tools and prompts that find and call others on behalf of the same requester."""

    def __init__(self, tools: "ToolService", requester: Requester) -> None:
        self._tools = tools
        self.requester = requester

    @property
    def budget_bytes(self) -> int:
        """Beyond which a result is cut."""
        return self._tools.budget_bytes

    def entries(self) -> tuple[CatalogueEntry, ...]:
        """Every tool that the requester may call."""
        return self._tools.reachable(self.requester)

    def entry(self, name: str) -> CatalogueEntry:
        """One of them; raises `NotFound`."""
        return self._tools.get(self.requester, name, listed=False)

    async def call(self, name: str, arguments: Mapping[str, JsonValue]) -> ToolOutcome:
        """Call one of them, as `ToolService.call` does."""
        return await self._tools.call(self.requester, name, arguments, listed=False)


@dataclass(slots=True)
class _Call:
    """One call under way."""

    requester: Requester
    entry: CatalogueEntry
    acting: Acting | None = None
    paced: PacedConversation | None = None
    """What a person is asked through, where the call may ask one."""

    def is_put_off(self) -> bool:
        """Whether it broke off before it did anything, since its caller was to answer first."""
        return self.paced is not None and self.paced.was_cut_off


class ToolService:
    """Every tool, for every transport. `desk` makes, for a principal, what the suite's own tools work with."""

    def __init__(
        self,
        catalogue: Catalogue,
        access: UpstreamAccess,
        desk: Callable[["Requester", "Toolbox"], Any],
        database: Database,
        ledger: CallLedger,
        limits: ToolLimits,
        confirmation: Confirmation,
        rates: CallerRates | None,
        *,
        now: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalogue = catalogue
        self._access = access
        self._integrations = access.integrations
        self._desk = desk
        self._database = database
        self._keyed = KeyedCalls(database, now)
        self._ledger = ledger
        self._rates = rates
        self._limits = limits
        self._confirmation = confirmation
        self._now = now
        self._monotonic = monotonic
        self._cache: TtlCache[ToolOutcome] = TtlCache(monotonic=monotonic)
        self._timeouts = SharedTimeouts()

    def visible(self, requester: Requester) -> tuple[CatalogueEntry, ...]:
        """The tools that are laid before the requester, by name; each may be called by its own."""
        return tuple(entry for entry in self.reachable(requester) if requester.view.lists(entry))

    def reachable(self, requester: Requester) -> tuple[CatalogueEntry, ...]:
        """The tools that the requester may call, by their own names or through `tools_call`."""
        principal = requester.principal
        permitted = self._catalogue.visible(principal, self._integrations.systems(principal.tenant_id))
        return tuple(entry for entry in permitted if requester.view.admits(entry))

    def get(self, requester: Requester, name: str, *, listed: bool = True) -> CatalogueEntry:
        """One visible tool, or with `listed` False a reachable one; raises `NotFound`."""
        principal, view = requester.principal, requester.view
        entry = self._catalogue.get(name, principal, self._integrations.systems(principal.tenant_id))
        if not (view.lists(entry) if listed else view.admits(entry)):
            raise self._catalogue.absent(name)
        return entry

    async def prepare(
        self, requester: Requester, entry: CatalogueEntry, arguments: Mapping[str, JsonValue]
    ) -> Mapping[str, Answer]:
        """Check a call that is to run later, and ask what must be known before: its confirmation, and what the tool asks first.

        Raises as `call` does. The answers belong to the call when it runs.
        """
        params = validate(entry, arguments)
        if _loses(params, entry):
            await self._confirmation.require(requester.principal, entry, params, requester.conversation)
        await self._acting(_Call(requester, entry), params)
        if entry.tool.ask_first is None:
            return {}
        return await requester.conversation.ask(entry.tool.ask_first(params))

    def check(self, principal: Principal, entry: CatalogueEntry, arguments: Mapping[str, JsonValue]) -> None:
        """Raise as `call` does for wrong arguments, and for an integration that the principal may not use so."""
        params = validate(entry, arguments)
        if entry.system != SUITE:
            self._integration(principal, entry, params.target)

    async def call(
        self,
        requester: Requester,
        name: str,
        arguments: Mapping[str, JsonValue],
        *,
        listed: bool = True,
    ) -> ToolOutcome:
        """Call a tool. Raises a `PlatformError` that says what to do next, or the conversation's `InputRequired`.

        Every call that names a tool is audited; one that is handed on to another tool is that one's.
        """
        entry = await self._admitted(requester, name, listed=listed)
        return await self.call_found(requester, entry, arguments)

    async def call_found(
        self, requester: Requester, entry: CatalogueEntry, arguments: Mapping[str, JsonValue]
    ) -> ToolOutcome:
        """As `call`, of a tool that `get` has just found for the requester, whom the task at hand answers from now on."""
        set_caller(requester.principal.id)
        if entry.tool.relays:
            relayed = await entry.tool.call(
                self.desk_of(requester), validate(entry, arguments), requester.conversation
            )
            assert isinstance(relayed, Relayed)
            return relayed.outcome
        await self._admit(requester, entry)
        started = self._monotonic()
        code, said = None, ""
        call = _Call(requester, entry)
        try:
            outcome = await self._guarded(call, arguments)
            said = outcome.text
            return outcome
        except PlatformError as error:
            code, said = error.code, f"{error.code}: {error.message}"
            raise
        except InputRequired:
            code = INPUT_REQUIRED
            raise
        except asyncio.CancelledError:
            code = said = "cancelled"
            raise
        finally:
            seconds = self._monotonic() - started
            acting = call.acting
            await self._ledger.enter(
                requester, entry, arguments, code=code, said=said, seconds=seconds, acting=acting
            )

    async def _admitted(self, requester: Requester, name: str, *, listed: bool) -> CatalogueEntry:
        try:
            return self.get(requester, name, listed=listed)
        except NotFound:
            systems = self._integrations.systems(requester.principal.tenant_id)
            if (hidden := self._catalogue.refused(name, requester.principal, systems)) is not None:
                await self._ledger.refuse(requester, hidden)
            raise

    async def _admit(self, requester: Requester, entry: CatalogueEntry) -> None:
        """Within the caller's and the tenant's rate, and for a context that it may write to."""
        if self._rates is not None:
            await self._rates.take(requester.principal)
        await self._ledger.begin(requester, entry)

    async def _guarded(self, call: _Call, arguments: Mapping[str, JsonValue]) -> ToolOutcome:
        entry = call.entry
        deadline_s = self.deadline_s(entry)
        try:
            if not (entry.tool.converses or entry.tool.effect is Effect.DESTRUCTIVE):
                with self._timeouts.within(deadline_s):
                    return await self._checked(call, arguments)
            async with asyncio.timeout(deadline_s) as deadline:
                call.paced = PacedConversation(call.requester.conversation, deadline)
                call.requester = call.requester.talking(call.paced)
                return await self._checked(call, arguments)
        except TimeoutError:
            raise DeadlineExceeded(f"{entry.tool.name} took longer than {deadline_s:g} s") from None
        except (PlatformError, InputRequired):
            raise
        except (
            Exception
        ):  # the border to adapters: whatever a tool did not foresee is ours to log, not the caller's to read
            log.exception("tool failed", tool=entry.tool.name)
            raise Internal(
                f"{entry.tool.name} failed unexpectedly; the operator finds it in the log"
            ) from None

    @property
    def budget_bytes(self) -> int:
        """Beyond which a result is cut."""
        return self._limits.budget_bytes

    @property
    def longest_s(self) -> float:
        """How long a call of any tool may take."""
        own = (tool.deadline.total_seconds() for tool in self._catalogue.tools if tool.deadline is not None)
        return max(self._limits.deadline_s, *own, 0.0)

    def deadline_s(self, entry: CatalogueEntry) -> float:
        """How long a call of the tool may take, answers of people not counted."""
        own = entry.tool.deadline
        return self._limits.deadline_s if own is None else own.total_seconds()

    async def _checked(self, call: _Call, arguments: Mapping[str, JsonValue]) -> ToolOutcome:
        params = validate(call.entry, arguments)
        if call.entry.tool.effect is Effect.READ:
            return await self._read(call, params)
        assert isinstance(params, WriteParams)
        if params.idempotency_key is None and call.requester.idempotency_key is not None:
            params = params.model_copy(update={"idempotency_key": call.requester.idempotency_key})
        return await self._write(call, params)

    async def _read(self, call: _Call, params: Params) -> ToolOutcome:
        tool, principal = call.entry.tool, call.requester.principal
        if not tool.cache_for:
            return await self._run(call, params)
        acting = await self._acting(call, params)  # what may no longer be asked is not answered from memory
        # Kept per principal: what one may see, another may not; and a handle in the answer is its owner's.
        as_whom = None if acting is None else acting.key
        key = (principal.tenant_id, principal.id, as_whom, tool.name, params.model_dump_json())
        known = self._cache.get(key)
        if known is None:
            known = await self._run(call, params)
            self._cache.put(key, known, tool.cache_for.total_seconds())
        return known

    async def _write(self, call: _Call, params: WriteParams) -> ToolOutcome:
        requester, entry = call.requester, call.entry
        keyed = None if params.dry_run else self._keyed_call(call, params)
        if _loses(params, entry):
            if params.dry_run:
                outcome = await self._run(call, params)
                plan = self._confirmation.plan(requester.principal, entry, params)
                return ToolOutcome.of({**outcome.data, "plan": plan}, outcome.blocks)
            if not requester.confirmed:
                if keyed is not None and (known := await self._keyed.known(keyed)) is not None:
                    return known  # it is done: who declines it now would be told that it is not
                await self._confirmation.require(requester.principal, entry, params, requester.conversation)
        if keyed is None:
            return await self._run(call, params)
        return await self._keyed.once(keyed, lambda: self._run(call, params), call.is_put_off)

    def _keyed_call(self, call: _Call, params: WriteParams) -> KeyedCall | None:
        """The call as its key tells it from others; None where it has no key."""
        if params.idempotency_key is None:
            return None
        principal, entry = call.requester.principal, call.entry
        key = CallKey(principal.id, entry.tool.name, params.idempotency_key)
        digest = hashlib.sha256(params.model_dump_json(exclude={"plan"}).encode()).digest()
        lasts = timedelta(seconds=self.deadline_s(entry) + ANSWER_WITHIN_S * entry.tool.converses)
        return KeyedCall(principal.tenant_id, key, digest, lasts)

    async def _run(self, call: _Call, params: Params) -> ToolOutcome:
        tool, requester = call.entry.tool, call.requester
        acting = await self._acting(call, params)
        if acting is None:
            result = await tool.call(self.desk_of(requester), params, requester.conversation)
        else:
            async with self._access.connected(acting) as client:
                result = await tool.call(client, params, requester.conversation)
        fields = params.fields if isinstance(params, ReadParams) else ()
        return await self._show(requester.principal, call.entry, result, fields)

    async def _acting(self, call: _Call, params: Params) -> Acting | None:
        """The integration, and as whom it is called; None for the suite's own tools. Decided once a call."""
        if call.acting is None and call.entry.system != SUITE:
            principal = call.requester.principal
            integration = self._integration(principal, call.entry, params.target)
            call.acting = await self._access.acting(principal, integration)
        return call.acting

    def _integration(self, principal: Principal, entry: CatalogueEntry, target: str | None) -> Integration:
        """The one that is named, or the first that the principal may use. Raises `NotFound` or `Forbidden`."""
        integration = self._integrations.chosen(principal, entry.system, target, *entry.needed)
        if integration.read_only and entry.tool.effect is not Effect.READ:
            raise Forbidden(f"integration {integration.name} is read-only")
        return integration

    def desk_of(self, requester: Requester) -> Any:
        """What the suite's own tools and prompts work with, for this requester."""
        return self._desk(requester, Toolbox(self, requester))

    async def _show(
        self, principal: Principal, entry: CatalogueEntry, result: ToolResult, fields: tuple[str, ...]
    ) -> ToolOutcome:
        shaped = shape(result, fields, max(self._limits.budget_bytes, result.room_bytes))
        if shaped.whole is None:
            return ToolOutcome(shaped.shown.decode(), result.blocks)
        whole, now = shaped.whole, self._now()
        kept = KeptResult(
            id=new_id(),
            tenant_id=principal.tenant_id,
            owner_id=principal.id,
            tool=entry.tool.name,
            body=whole.decode(),
            created_at=now,
            expires_at=now + self._limits.kept_for,
        )
        # The suite's own are of what is found already.
        posting = None if entry.system == SUITE else announced(kept, entry.system)
        await self._database.write(principal.tenant_id, lambda tx: tx.results.keep(kept, posting))
        truncation = Truncation(
            handle=kept.id, shown_bytes=len(shaped.shown), total_bytes=len(whole), cut=shaped.cut
        )
        shown = {**orjson.loads(shaped.shown), "truncated": truncation.model_dump(mode="json")}
        return ToolOutcome.of(shown, result.blocks)


def _loses(params: Params, entry: CatalogueEntry) -> TypeGuard[DestructiveParams]:
    if entry.tool.effect is not Effect.DESTRUCTIVE or not isinstance(params, DestructiveParams):
        return False
    return entry.tool.loses is None or entry.tool.loses(params)
