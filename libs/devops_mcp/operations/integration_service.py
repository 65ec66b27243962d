"""A tenant's integrations as those who manage them see them: made, changed, tested, deleted. What gets us in is taken and never shown."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from pydantic import SecretStr

from devops_mcp.adapters.base import AnyAdapter
from devops_mcp.auth.envelope import Envelope
from devops_mcp.auth.sealing import SealBroken
from devops_mcp.models.base import OWN_SYSTEM, Clock, JsonObject, utc_now
from devops_mcp.models.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PermissionMissing,
    PlatformError,
    Violation,
)
from devops_mcp.models.ids import new_id
from devops_mcp.models.integrations import (
    MAX_INTEGRATIONS,
    MAX_WEBHOOK_SECRETS,
    IntegrationDraft,
    IntegrationsWanted,
    KeptWebhookSecret,
    NewIntegration,
    Sealed,
    StoredIntegration,
)
from devops_mcp.models.principals import Principal
from devops_mcp.operations.adapter_settings import addresses, checked
from devops_mcp.operations.deeds import deed, permit
from devops_mcp.operations.integration_views import (
    AddedWebhookSecret,
    ConnectionTest,
    IntegrationSystem,
    IntegrationView,
    listed,
    system_of,
    view_of_configured,
    view_of_row,
    webhook_path,
)
from devops_mcp.operations.integration_watch import IntegrationWatch
from devops_mcp.operations.integrations import leads_to, not_polled, place_of, unfit_secret, unsealed
from devops_mcp.operations.reachable import require_reachable
from devops_mcp.operations.upstream_access import UpstreamAccess
from devops_mcp.outbound.addresses import Network
from devops_mcp.repositories.database import Database
from devops_mcp.resilience.afterwards import afterwards

PAYLOAD = "integrations:payload"
TEST_S = 10.0


class IntegrationService:
    """The integrations of the principal's tenant."""

    def __init__(
        self,
        database: Database,
        adapters: Mapping[str, AnyAdapter],
        access: UpstreamAccess,
        watch: IntegrationWatch,
        envelope: Envelope,
        private_networks: tuple[Network, ...],
        *,
        now: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._adapters = adapters
        self._access = access
        self._watch = watch
        self._envelope = envelope
        self._private_networks = private_networks
        self._now = now
        self._monotonic = monotonic

    def systems(self) -> tuple[IntegrationSystem, ...]:
        """By name."""
        return tuple(system_of(adapter) for _, adapter in sorted(self._adapters.items()))

    async def all(self, principal: Principal, wanted: IntegrationsWanted) -> tuple[IntegrationView, ...]:
        """Those that the principal may see. Raises `Forbidden` for who may see none."""
        async with self._database.transaction(principal.tenant_id) as tx:
            rows = await tx.integrations.all()
        views = (*self._of_operator(principal), *(self._view(principal, row) for row in rows))
        seen = [view for view in views if principal.may(f"integrations:read:{view.name}")]
        if not seen and not principal.may("integrations:read:*"):
            raise PermissionMissing(principal.name, "integrations:read")
        return listed(seen, wanted)

    async def get(self, principal: Principal, name: str) -> IntegrationView:
        """Raises `NotFound`."""
        _require_read(principal, name)
        for view in self._of_operator(principal):
            if view.name == name:
                return view
        async with self._database.transaction(principal.tenant_id) as tx:
            return self._view(principal, _existing(await tx.integrations.find(name), name))

    async def create(self, principal: Principal, draft: NewIntegration) -> IntegrationView:
        """Raises `InvalidInput` for what the system's settings do not allow, `Conflict` for a name that is taken or too many."""
        await permit(self._database, principal, f"integrations:write:{draft.name}", _target(draft.name))
        adapter = self._adapter(draft.system)
        if draft.name == OWN_SYSTEM or draft.name in self._configured(principal.tenant_id):
            raise Conflict(f"there is an integration {draft.name!r} already")
        checked(adapter, draft.options, draft.credentials or {})
        _check_polls(adapter, draft)
        _check_secrets(adapter, draft.webhook_secrets or ())
        await self._require_reachable(draft.options)
        sealed = Sealed(credentials=draft.credentials or {}, webhook_secrets=_kept(draft.webhook_secrets))
        row = self._sealed(self._new(principal.tenant_id, draft), sealed)
        async with self._database.transaction(principal.tenant_id) as tx:
            await tx.integrations.lock_all()
            if len(await tx.integrations.all()) >= MAX_INTEGRATIONS:
                raise Conflict(f"a tenant has at most {MAX_INTEGRATIONS} integrations; delete one")
            await tx.integrations.add(row)
            about = {"after": _about(row, sealed)}
            await tx.audit.append([deed(principal, "integrations.create", _target(row.name), about)])
        await afterwards(self._watch.refresh)
        return self._view(principal, row)

    async def replace(self, principal: Principal, name: str, draft: IntegrationDraft) -> IntegrationView:
        """Say anew how it is configured; that counts for every call within seconds.

        What is left out of the secrets stays, unless an address changes: credentials never go to another place than they were given for,
        and those that people have stored are forgotten. Raises as `create` does, and `NotFound`.
        """
        await permit(self._database, principal, f"integrations:write:{name}", _target(name))
        self._refuse_configured(principal.tenant_id, name)
        await self._require_reachable(draft.options)
        async with self._database.transaction(principal.tenant_id) as tx:
            before = _existing(await tx.integrations.find(name, for_update=True), name)
            kept = self._opened(before, draft)
            moved = addresses(before.options) != addresses(draft.options)
            after = _redrafted(kept, draft, moved=moved)
            checked(self._adapter(before.system), draft.options, after.credentials)
            _check_polls(self._adapter(before.system), draft)
            _check_secrets(self._adapter(before.system), draft.webhook_secrets or ())
            row = self._sealed(self._next(before, draft), after)
            await tx.integrations.replace(row)
            if moved:
                await tx.personal_credentials.delete_all(name)
            changed = {"before": _about(before, kept), "after": _about(row, after)}
            await tx.audit.append([deed(principal, "integrations.update", _target(name), changed)])
        await afterwards(self._watch.refresh)
        return self._view(principal, row)

    async def delete(self, principal: Principal, name: str) -> None:
        """Remove it with all credentials for it. Raises `NotFound`."""
        await permit(self._database, principal, f"integrations:write:{name}", _target(name))
        self._refuse_configured(principal.tenant_id, name)
        async with self._database.transaction(principal.tenant_id) as tx:
            before = _existing(await tx.integrations.find(name, for_update=True), name)
            await tx.integrations.delete(before.id)
            await tx.personal_credentials.delete_all(name)
            about = {"before": _about(before, self._if_opens(before))}
            await tx.audit.append([deed(principal, "integrations.delete", _target(name), about)])
        await afterwards(self._watch.refresh)

    async def add_webhook_secret(
        self, principal: Principal, name: str, secret: SecretStr | None, overlap: timedelta
    ) -> AddedWebhookSecret:
        """Take one more secret, or make one; those before are accepted for `overlap` yet, while the sender changes over.

        Raises `NotFound`, and `Conflict` for a system that sends no webhooks.
        """
        await permit(self._database, principal, f"integrations:write:{name}", _target(name))
        self._refuse_configured(principal.tenant_id, name)
        now = self._now()
        async with self._database.transaction(principal.tenant_id) as tx:
            before = _existing(await tx.integrations.find(name, for_update=True), name)
            adapter = self._adapter(before.system)
            path = webhook_path(adapter, before.id)
            if path is None or adapter.webhooks is None:
                raise Conflict(f"{before.system} sends no webhooks")
            made = secret or SecretStr(adapter.webhooks.secrets.make())
            _check_secrets(adapter, [made], "body.secret")
            sealed = self._opened(before, None)
            kept = _with_secret(sealed.webhook_secrets, made, now, overlap)
            after = sealed.model_copy(update={"webhook_secrets": kept})
            row = self._sealed(self._next(before, None), after)
            await tx.integrations.replace(row)
            about: JsonObject = {"overlap_s": overlap.total_seconds(), "signers": len(kept)}
            await tx.audit.append([deed(principal, "integrations.rotate", _target(name), about)])
        await afterwards(self._watch.refresh)
        shown = made.get_secret_value() if secret is None else None
        return AddedWebhookSecret(secret=shown, webhook_path=path, webhook_secrets=len(kept))

    async def test(self, principal: Principal, name: str) -> ConnectionTest:
        """Ask the system whether it answers us, as whom calls of the principal would be made. Raises `NotFound`."""
        await permit(self._database, principal, f"integrations:write:{name}", _target(name))
        await afterwards(self._watch.refresh)
        integration = self._access.integrations.named(principal.tenant_id, name)
        started = self._monotonic()
        acted_as: str | None = None
        try:
            acting = await self._access.acting(principal, integration)
            acted_as = acting.as_whom
            async with asyncio.timeout(TEST_S), self._access.connected(acting) as client:
                ping = integration.adapter.ping
                detail = None if ping is None else await ping(client)
            code = None
        except TimeoutError:
            code, detail = "deadline_exceeded", f"no answer within {TEST_S:g} s"
        except PlatformError as error:
            code, detail = error.code, error.message
        duration_ms = round((self._monotonic() - started) * 1_000, 1)
        async with self._database.transaction(principal.tenant_id) as tx:
            about: JsonObject = {"as": acted_as, "code": code}
            await tx.audit.append([deed(principal, "integrations.test", _target(name), about)])
        return ConnectionTest(
            ok=code is None, acted_as=acted_as, detail=detail, code=code, duration_ms=duration_ms
        )

    def _adapter(self, system: str) -> AnyAdapter:
        adapter = self._adapters.get(system)
        if adapter is None or adapter.on_this_machine:
            problem = (
                "is not a system that we know"
                if adapter is None
                else "reaches the machine itself: only the operator configures it"
            )
            raise InvalidInput(f"system {problem}", (Violation("body.system", problem),))
        return adapter

    def _configured(self, tenant_id: UUID) -> set[str]:
        return {i.name for i in self._access.integrations.of(tenant_id) if i.id is None}

    def _refuse_configured(self, tenant_id: UUID, name: str) -> None:
        if name in self._configured(tenant_id):
            raise Conflict(f"{name} is configured by the operator and cannot be changed here")

    async def _require_reachable(self, options: JsonObject) -> None:
        for path, address in addresses(options):
            if "://" in address:
                await require_reachable(address, self._private_networks, f"options.{path}")

    def _new(self, tenant_id: UUID, draft: NewIntegration) -> StoredIntegration:
        now = self._now()
        return StoredIntegration(
            id=new_id(),
            tenant_id=tenant_id,
            name=draft.name,
            system=draft.system,
            read_only=draft.read_only,
            credential_policy=draft.credential_policy,
            options=draft.options,
            sealed=b"",
            polls=draft.polls,
            version=1,
            created_at=now,
            updated_at=now,
        )

    def _next(self, before: StoredIntegration, draft: IntegrationDraft | None) -> StoredIntegration:
        """The next version of a row, yet to be sealed."""
        changes = (
            {}
            if draft is None
            else {
                **draft.model_dump(include={"read_only", "credential_policy", "options"}),
                "polls": draft.polls,
            }
        )
        return before.model_copy(
            update={**changes, "version": before.version + 1, "updated_at": self._now(), "sealed": b""}
        )

    def _sealed(self, row: StoredIntegration, content: Sealed) -> StoredIntegration:
        closed = self._envelope.close(content.model_dump_json().encode(), place_of(row), leads_to(row))
        return row.model_copy(update={"sealed": closed})

    def _if_opens(self, row: StoredIntegration) -> Sealed | None:
        try:
            return unsealed(row, self._envelope)
        except SealBroken:
            return None

    def _opened(self, row: StoredIntegration, draft: IntegrationDraft | None) -> Sealed:
        """What is kept. Where it does not open, and all of it is given anew, that is no loss."""
        kept = self._if_opens(row)
        if kept is not None:
            return kept
        if draft is None or draft.credentials is None or draft.webhook_secrets is None:
            raise Conflict(
                f"the secrets of {row.name} cannot be opened; give all of credentials and webhook_secrets anew"
            )
        return Sealed()

    def _view(self, principal: Principal, row: StoredIntegration) -> IntegrationView:
        adapter, sealed = self._adapters.get(row.system), self._if_opens(row)
        return view_of_row(row, sealed, adapter, self._now(), with_options=_sees(principal, row.name))

    def _of_operator(self, principal: Principal) -> tuple[IntegrationView, ...]:
        own = self._access.integrations.of(principal.tenant_id)
        return tuple(view_of_configured(i, self._now()) for i in own if i.id is None)


def _check_polls(adapter: AnyAdapter, draft: IntegrationDraft) -> None:
    problem = not_polled(adapter, draft.polls, draft.credential_policy)
    if problem is not None:
        raise InvalidInput(f"polls: {problem}", (Violation("body.polls", problem),))


def _check_secrets(
    adapter: AnyAdapter, given: Iterable[SecretStr], where: str = "body.webhook_secrets"
) -> None:
    problem = unfit_secret(adapter, given)
    if problem is not None:
        raise InvalidInput(f"{where.removeprefix('body.')}: {problem}", (Violation(where, problem),))


def _sees(principal: Principal, name: str) -> bool:
    """Who says the options sees them too."""
    return principal.may(PAYLOAD) or principal.may(f"integrations:write:{name}")


def _redrafted(kept: Sealed, draft: IntegrationDraft, *, moved: bool) -> Sealed:
    if draft.credentials is None and kept.credentials and moved:
        problem = "an address changes: give the credentials for it"
        raise InvalidInput(f"credentials: {problem}", (Violation("body.credentials", problem),))
    changes: dict[str, object] = {}
    if draft.credentials is not None:
        changes["credentials"] = draft.credentials
    if draft.webhook_secrets is not None:
        changes["webhook_secrets"] = _kept(draft.webhook_secrets)
    return kept.model_copy(update=changes)


def _kept(given: Iterable[SecretStr] | None) -> tuple[KeptWebhookSecret, ...]:
    return tuple(KeptWebhookSecret(secret=secret.get_secret_value()) for secret in given or ())


def _with_secret(
    before: tuple[KeptWebhookSecret, ...], added: SecretStr, now: datetime, overlap: timedelta
) -> tuple[KeptWebhookSecret, ...]:
    """The new one first, and for a while yet those before, the newest of them."""
    end = now + overlap
    ending = [
        KeptWebhookSecret(secret=one.secret, until=end if one.until is None else min(one.until, end))
        for one in before
        if overlap and (one.until is None or now < one.until)
    ]
    return (KeptWebhookSecret(secret=added.get_secret_value()), *ending[: MAX_WEBHOOK_SECRETS - 1])


def _about(row: StoredIntegration, sealed: Sealed | None) -> JsonObject:
    """What the audit log keeps: of secrets only which there are."""
    return {
        "system": row.system,
        "read_only": row.read_only,
        "acts": row.credential_policy.value,
        "options": row.options,
        "sets": [] if sealed is None else [*sorted(sealed.credentials)],
        "signers": 0 if sealed is None else len(sealed.webhook_secrets),
        "polls": row.model_dump(mode="json", include={"polls"})["polls"],
        "version": row.version,
    }


def _require_read(principal: Principal, name: str) -> None:
    if not principal.may(f"integrations:read:{name}"):
        raise PermissionMissing(principal.name, f"integrations:read:{name}")


def _target(name: str) -> str:
    return f"integration:{name}"


def _existing(row: StoredIntegration | None, name: str) -> StoredIntegration:
    if row is None:
        raise NotFound(f"there is no integration {name!r}")
    return row
