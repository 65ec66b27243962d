"""Calling a tool: may this principal, with these arguments; then call, shape, keep, account for it.

The one way to a tool, whichever transport asks.
"""

import asyncio
import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
import structlog
from pydantic import JsonValue, ValidationError

from devops_mcp.adapters.base import Effect, Params, ReadParams, ToolResult, WriteParams
from devops_mcp.models.audit import AuditRecord
from devops_mcp.models.base import Clock, JsonObject, utc_now
from devops_mcp.models.errors import (
    Conflict,
    DeadlineExceeded,
    Forbidden,
    Internal,
    InvalidInput,
    PlatformError,
    Violation,
)
from devops_mcp.models.ids import new_id
from devops_mcp.models.principals import Principal
from devops_mcp.models.results import KeptResult, Truncation
from devops_mcp.observability.metrics import Metrics
from devops_mcp.observability.tracing import current_trace_id
from devops_mcp.operations.audit import AuditTrail
from devops_mcp.operations.catalogue import SUITE, Catalogue, CatalogueEntry
from devops_mcp.operations.integrations import Integrations
from devops_mcp.operations.masking import masked
from devops_mcp.operations.shaping import Shaped, shape
from devops_mcp.operations.ttl_cache import TtlCache
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.idempotency import CallKey

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ToolLimits:
    """How much room a reader has, how long the whole of a cut result is kept, and how long a call may take."""

    budget_bytes: int = 24_000
    kept_for: timedelta = timedelta(hours=24)
    deadline_s: float = 30.0


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """What the caller is shown. `text` is `data` as compact JSON."""

    data: JsonObject
    text: str


class ToolService:
    """Every tool, for every transport. `desk` makes, for a principal, what the suite's own tools work with."""

    def __init__(
        self,
        catalogue: Catalogue,
        integrations: Integrations,
        desk: Callable[[Principal], Any],
        database: Database,
        audit: AuditTrail,
        metrics: Metrics,
        limits: ToolLimits,
        *,
        now: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalogue = catalogue
        self._integrations = integrations
        self._desk = desk
        self._database = database
        self._audit = audit
        self._metrics = metrics
        self._limits = limits
        self._now = now
        self._monotonic = monotonic
        self._cache: TtlCache[ToolOutcome] = TtlCache(monotonic=monotonic)

    def visible(self, principal: Principal) -> tuple[CatalogueEntry, ...]:
        """The tools that the principal may call, by name."""
        return self._catalogue.visible(principal, self._integrations.systems(principal.tenant_id))

    def get(self, principal: Principal, name: str) -> CatalogueEntry:
        """One visible tool; raises `NotFound`."""
        return self._catalogue.get(name, principal, self._integrations.systems(principal.tenant_id))

    async def call(self, principal: Principal, name: str, arguments: Mapping[str, JsonValue]) -> ToolOutcome:
        """Call a tool. Raises a `PlatformError` that says what to do next; every call that names a tool is audited."""
        entry = self.get(principal, name)
        started = self._monotonic()
        code: str | None = None
        try:
            return await self._guarded(principal, entry, arguments)
        except PlatformError as error:
            code = error.code
            raise
        except asyncio.CancelledError:
            code = "cancelled"
            raise
        finally:
            await self._account(principal, entry, arguments, code, self._monotonic() - started)

    async def _guarded(
        self, principal: Principal, entry: CatalogueEntry, arguments: Mapping[str, JsonValue]
    ) -> ToolOutcome:
        try:
            async with asyncio.timeout(self._limits.deadline_s):
                return await self._checked(principal, entry, arguments)
        except TimeoutError:
            raise DeadlineExceeded(
                f"{entry.tool.name} took longer than {self._limits.deadline_s:g} s"
            ) from None
        except PlatformError:
            raise
        except (
            Exception
        ):  # the border to adapters: whatever a tool did not foresee is ours to log, not the caller's to read
            log.exception("tool failed", tool=entry.tool.name)
            raise Internal(
                f"{entry.tool.name} failed unexpectedly; the operator finds it in the log"
            ) from None

    async def _checked(
        self, principal: Principal, entry: CatalogueEntry, arguments: Mapping[str, JsonValue]
    ) -> ToolOutcome:
        params = validate(entry, arguments)
        if entry.tool.effect is Effect.READ:
            return await self._read(principal, entry, params)
        return await self._write(principal, entry, params)

    async def _read(self, principal: Principal, entry: CatalogueEntry, params: Params) -> ToolOutcome:
        if not entry.tool.cache_for:
            return await self._run(principal, entry, params)
        # Kept per principal: what one may see, another may not; and a handle in the answer is its owner's.
        key = (principal.tenant_id, principal.id, entry.tool.name, params.model_dump_json())
        known = self._cache.get(key)
        if known is None:
            known = await self._run(principal, entry, params)
            self._cache.put(key, known, entry.tool.cache_for.total_seconds())
        return known

    async def _write(self, principal: Principal, entry: CatalogueEntry, params: Params) -> ToolOutcome:
        assert isinstance(params, WriteParams)
        if params.idempotency_key is None or params.dry_run:
            return await self._run(principal, entry, params)
        key = CallKey(principal.id, entry.tool.name, params.idempotency_key)
        digest = hashlib.sha256(params.model_dump_json().encode()).digest()
        if (answer := await self._begin(principal, key, digest)) is not None:
            return _outcome(answer)
        try:
            outcome = await self._run(principal, entry, params)
        except PlatformError as error:
            if (
                not error.retryable
            ):  # refused, so not done: the key is free again. Otherwise nobody knows, until the lease ends.
                await self._forget(principal, key)
            raise
        async with self._database.transaction(principal.tenant_id) as tx:
            await tx.idempotent_calls.finish(key, outcome.data)
        return outcome

    async def _begin(self, principal: Principal, key: CallKey, digest: bytes) -> JsonObject | None:
        now = self._now()
        lease = now + timedelta(seconds=self._limits.deadline_s * 2)
        async with self._database.transaction(principal.tenant_id) as tx:
            marked = await tx.idempotent_calls.begin(key, digest, now, lease)
        if marked is None:
            return None
        if marked.digest != digest:
            raise Conflict(f"idempotency key {key.key!r} was used with other arguments; use a new key")
        if marked.answer is None:
            raise Conflict(
                f"the call with idempotency key {key.key!r} is still under way; ask again", retry_after_s=2
            )
        return marked.answer

    async def _forget(self, principal: Principal, key: CallKey) -> None:
        async with self._database.transaction(principal.tenant_id) as tx:
            await tx.idempotent_calls.forget(key)

    async def _run(self, principal: Principal, entry: CatalogueEntry, params: Params) -> ToolOutcome:
        result = await entry.tool.run(self._client(principal, entry, params), params)
        fields = params.fields if isinstance(params, ReadParams) else ()
        return await self._show(principal, entry, result, fields)

    def _client(self, principal: Principal, entry: CatalogueEntry, params: Params) -> Any:
        if entry.system == SUITE:
            return self._desk(principal)
        integration = self._integrations.resolve(principal.tenant_id, entry.system, params.target)
        if integration.read_only and entry.tool.effect is not Effect.READ:
            raise Forbidden(f"integration {integration.name} is read-only")
        return integration.client

    async def _show(
        self, principal: Principal, entry: CatalogueEntry, result: ToolResult, fields: tuple[str, ...]
    ) -> ToolOutcome:
        shaped = shape(result, fields, self._limits.budget_bytes)
        if shaped.whole is None:
            return _outcome(shaped.data)
        truncation = await self._keep(principal, entry, shaped, shaped.whole)
        return _outcome({**shaped.data, "truncated": truncation.model_dump(mode="json")})

    async def _keep(
        self, principal: Principal, entry: CatalogueEntry, shaped: Shaped, whole: bytes
    ) -> Truncation:
        now = self._now()
        kept = KeptResult(
            id=new_id(),
            tenant_id=principal.tenant_id,
            owner_id=principal.id,
            tool=entry.tool.name,
            body=whole.decode(),
            created_at=now,
            expires_at=now + self._limits.kept_for,
        )
        async with self._database.transaction(principal.tenant_id) as tx:
            await tx.results.keep(kept)
        return Truncation(
            handle=kept.id, shown_bytes=shaped.shown_bytes, total_bytes=len(whole), cut=shaped.cut
        )

    async def _account(
        self,
        principal: Principal,
        entry: CatalogueEntry,
        arguments: Mapping[str, JsonValue],
        code: str | None,
        seconds: float,
    ) -> None:
        tool, outcome = entry.tool.name, code or "ok"
        self._metrics.tool_call(tool, outcome, seconds)
        log.info("tool called", tool=tool, outcome=outcome, duration_ms=round(seconds * 1000, 1))
        await self._audit.record(
            AuditRecord(
                id=new_id(),
                tenant_id=principal.tenant_id,
                actor_id=principal.id,
                actor=principal.name,
                action=f"tool.{entry.tool.effect}",
                target=tool,
                outcome="ok" if code is None else "failed",
                error_code=code,
                duration_ms=seconds * 1000,
                arguments=masked(arguments),
                trace_id=current_trace_id(),
                at=self._now(),
            )
        )


def validate(entry: CatalogueEntry, arguments: Mapping[str, JsonValue]) -> Params:
    """The arguments as the tool's params; raises `InvalidInput` that names each fault."""
    if fault := _unstorable(dict(arguments), "arguments"):
        raise InvalidInput(f"{fault.where}: {fault.problem}", (fault,))
    try:
        params: Params = entry.tool.params.model_validate(arguments)
    except ValidationError as error:
        violations = tuple(
            Violation(".".join(("arguments", *map(str, fault["loc"]))), fault["msg"])
            for fault in error.errors()
        )
        raise InvalidInput("; ".join(f"{v.where}: {v.problem}" for v in violations), violations) from None
    return params


def _unstorable(value: JsonValue, where: str) -> Violation | None:
    """The first NaN, infinity or NUL: JSON has none of the first two, and no database or path takes the third."""
    if isinstance(value, str):
        return Violation(where, "contains a NUL character") if "\0" in value else None
    if isinstance(value, float) and not math.isfinite(value):
        return Violation(where, "is not a finite number")
    parts: list[tuple[str, JsonValue]] = []
    if isinstance(value, dict):
        parts = [(f"{where}.{name}", part) for name, part in value.items()]
    elif isinstance(value, list):
        parts = [(f"{where}[{i}]", part) for i, part in enumerate(value)]
    return next((fault for name, part in parts if (fault := _unstorable(part, name))), None)


def _outcome(data: JsonObject) -> ToolOutcome:
    return ToolOutcome(data, orjson.dumps(data).decode())
