"""The integrations: adapters configured for tenants, by the operator in the configuration or by the tenants themselves."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from pydantic import SecretStr, ValidationError

from devops_mcp.adapters.base import AnyAdapter, Outside
from devops_mcp.adapters.polls import Poller
from devops_mcp.auth.envelope import Envelope
from devops_mcp.auth.sealing import SealBroken
from devops_mcp.config import IntegrationSettings, PollSettings
from devops_mcp.models.base import JsonObject
from devops_mcp.models.errors import ConfigurationError, Internal, NotFound, PermissionMissing
from devops_mcp.models.integrations import CredentialPolicy, KeptWebhookSecret, Sealed, StoredIntegration
from devops_mcp.models.lists import Listed
from devops_mcp.models.polling import PollWanted
from devops_mcp.models.principals import Principal
from devops_mcp.models.violations import refused
from devops_mcp.operations.adapter_settings import credential_fields, digest_of_addresses
from devops_mcp.operations.connections import ConnectionKey, Connections
from devops_mcp.resilience.policies import PolicyTable

CONFIGURED = "configured"
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Polling:
    """A poller that runs, and how often."""

    poller: Poller[Any]
    every: timedelta


@dataclass(frozen=True, slots=True)
class Integration:
    """One system of one tenant. `id` and `version` are those of its row; an integration of the configuration has no row.

    `options` are what its adapter is told besides credentials. `unseal` gives the rest, and raises `SealBroken`.
    `client` is what the adapter's `connect` gave, where it was connected at the start.
    """

    name: str
    tenant_id: UUID
    adapter: AnyAdapter
    read_only: bool
    policy: CredentialPolicy
    options: JsonObject = field(repr=False)
    unseal: Callable[[], Sealed] = field(repr=False)
    id: UUID | None = None
    version: int = 0
    client: Any = field(default=None, repr=False)
    pollings: tuple[Polling, ...] = ()

    @property
    def stamp(self) -> str:
        """Tells this version of this integration from every other of the tenant."""
        return CONFIGURED if self.id is None else f"{self.id}/{self.version}"

    def addresses(self) -> str:
        """A digest of where it leads to: a credential for one place is not shown to another."""
        return digest_of_addresses(self.adapter.name, self.options)

    def opened(self) -> Sealed:
        """How we get in. Raises `Internal`, and an error is logged, when it was changed or the master key is gone."""
        try:
            return self.unseal()
        except SealBroken as error:
            log.error("secret not opened", reason=error.message)
            raise Internal(
                f"the credentials of integration {self.name} cannot be opened; store them again"
            ) from None

    def webhook_secrets(self, now: datetime) -> tuple[SecretStr, ...]:
        """Those in force."""
        kept = self.opened().webhook_secrets
        return tuple(SecretStr(one.secret) for one in kept if one.until is None or now < one.until)


@dataclass(frozen=True, slots=True)
class Person:
    """Who has stored credentials of its own; `mark` tells it, and this version of them, from every other."""

    user_id: UUID
    mark: str
    credentials: JsonObject = field(repr=False)


class Integrations:
    """Looks integrations up, always for one tenant. Open it with `open_integrations`."""

    def __init__(
        self,
        configured: Sequence[Integration],
        adapters: Mapping[str, AnyAdapter],
        connections: Connections,
        outside: Callable[[UUID, str], Outside],
        policies: PolicyTable,
    ) -> None:
        self._configured = tuple(configured)
        self._stored: dict[UUID, tuple[Integration, ...]] = {}
        self._versions: dict[UUID, dict[UUID, int]] = {}
        self._suspended: frozenset[UUID] = frozenset()
        self._adapters = adapters
        self._connections = connections
        self._outside = outside
        self._of: dict[UUID, tuple[Integration, ...]] = {}
        self._systems: dict[UUID, Mapping[str, tuple[str, ...]]] = {}
        for tenant_id in {i.tenant_id for i in configured}:
            self._rebuild(tenant_id)
        self.policies = policies
        """What stands between us and each, by `<tenant>/<name>`: for the metrics."""

    def of(self, tenant_id: UUID) -> tuple[Integration, ...]:
        """The configured ones first, then the tenant's own by name."""
        return self._of.get(tenant_id, ())

    def describe(self, tenant_id: UUID) -> tuple[JsonObject, ...]:
        """The tenant's integrations as everybody in it may know them: nothing of where they are or how we get in."""
        return tuple(
            {"name": i.name, "system": i.adapter.name, "title": i.adapter.title, "read_only": i.read_only}
            for i in self.of(tenant_id)
        )

    def systems(self, tenant_id: UUID) -> Mapping[str, tuple[str, ...]]:
        """The systems that the tenant has an integration for, and the names of these."""
        return self._systems.get(tenant_id, {})

    def named(self, tenant_id: UUID, name: str) -> Integration:
        """Raises `NotFound`."""
        for integration in self.of(tenant_id):
            if integration.name == name:
                return integration
        raise NotFound(f"there is no integration {name!r}")

    def resolve(self, tenant_id: UUID, system: str, target: str | None) -> Integration:
        """The tenant's integration of `system` named `target`, or its first. Raises `NotFound` that names those there are."""
        candidates = [i for i in self.of(tenant_id) if i.adapter.name == system]
        for candidate in candidates:
            if target is None or candidate.name == target:
                return candidate
        if not candidates:
            raise NotFound(f"no integration of {system} is configured")
        raise NotFound(
            f"no integration of {system} is named {target!r}; there are: {', '.join(i.name for i in candidates)}"
        )

    def usable(self, principal: Principal, system: str, *permissions: str) -> tuple[str, ...]:
        """The names of the tenant's integrations of `system` on which the principal has one of these; where none is needed, all."""
        names = self.systems(principal.tenant_id).get(system, ())
        return tuple(name for name in names if not permissions or principal.may_on((name,), *permissions))

    def chosen(self, principal: Principal, system: str, target: str | None, *permissions: str) -> Integration:
        """The one that is named `target`, or the first that is usable. Raises `NotFound`, `PermissionMissing`."""
        usable = self.usable(principal, system, *permissions)
        if target is None and usable:
            target = usable[0]
        integration = self.resolve(principal.tenant_id, system, target)
        if integration.name not in usable:
            raise PermissionMissing(principal.name, f"{permissions[0]}@{integration.name}")
        return integration

    def for_webhook(self, system: str, named: str | None) -> Integration:
        """Whose webhook address this is: a configured one's by its name, or without one the system's only; a stored one's by its id.

        Raises `NotFound` for a system that is unknown or sends no webhooks, and where a name is needed or wrong.
        """
        own = (i for i in self._configured if named is None or i.name == named)
        stored = (i for of_one in self._stored.values() for i in of_one if str(i.id) == named)
        found = [i for i in (*own, *stored) if i.adapter.name == system and i.adapter.webhooks]
        if len(found) != 1:
            raise NotFound("there is no such webhook address; use /webhooks/<system>/<integration>")
        return found[0]

    def is_suspended(self, tenant_id: UUID) -> bool:
        """Whether the tenant was suspended when this process last looked."""
        return tenant_id in self._suspended

    def all_for_polling(self) -> tuple[Integration, ...]:
        """Those of every active tenant that are polled, for the worker only."""
        active = (of for tenant_id, of in self._of.items() if not self.is_suspended(tenant_id))
        return tuple(integration for of in active for integration in of if integration.pollings)

    def all_for_health(self) -> tuple[Integration, ...]:
        """Every configured integration of every tenant, for readiness only; those of tenants are tested by them."""
        return self._configured

    @asynccontextmanager
    async def connected(self, integration: Integration, person: Person | None = None) -> AsyncIterator[Any]:
        """Its client, with the service's credentials or a person's in place of them; it stays open within the block."""
        if person is None and integration.client is not None:
            yield integration.client
            return

        @asynccontextmanager
        async def connect() -> AsyncIterator[Any]:
            credentials = integration.opened().credentials if person is None else person.credentials
            settings = integration.adapter.settings.model_validate({**integration.options, **credentials})
            outside = self._outside(integration.tenant_id, integration.name)
            async with integration.adapter.connect(settings, outside) as client:
                yield client

        mark = "" if person is None else person.mark
        key = ConnectionKey(integration.tenant_id, integration.name, integration.stamp, mark)
        async with self._connections.use(key, connect) as client:
            yield client

    def versions(self) -> Mapping[UUID, Mapping[UUID, int]]:
        """The stored integrations that this process knows of, by tenant."""
        return self._versions

    def put_suspended(self, tenants: Iterable[UUID]) -> None:
        """Say anew which tenants are suspended."""
        self._suspended = frozenset(tenants)

    def put_stored(self, tenant_id: UUID, rows: Sequence[StoredIntegration], envelope: Envelope) -> None:
        """Say anew which integrations a tenant has made. What was connected of those before is closed once it is not used."""
        before = self._stored.get(tenant_id, ())
        self._stored[tenant_id] = tuple(
            self._of_row(row, envelope) for row in rows if row.system in self._adapters
        )
        self._versions[tenant_id] = {row.id: row.version for row in rows}
        if not rows:
            del self._stored[tenant_id], self._versions[tenant_id]
        self._rebuild(tenant_id)
        stamps = {i.name: i.stamp for i in self.of(tenant_id)}
        for gone in before:
            if stamps.get(gone.name) != gone.stamp:
                self._connections.retire(tenant_id, gone.name, but=stamps.get(gone.name))
                self.policies.forget(key_of(tenant_id, gone.name))

    def _of_row(self, row: StoredIntegration, envelope: Envelope) -> Integration:
        return Integration(
            name=row.name,
            tenant_id=row.tenant_id,
            adapter=self._adapters[row.system],
            read_only=row.read_only,
            policy=row.credential_policy,
            options=row.options,
            unseal=partial(unsealed, row, envelope),
            id=row.id,
            version=row.version,
            pollings=pollings_of(self._adapters[row.system], row.polls),
        )

    def _rebuild(self, tenant_id: UUID) -> None:
        configured = [i for i in self._configured if i.tenant_id == tenant_id]
        names = {i.name for i in configured}
        stored = [i for i in self._stored.get(tenant_id, ()) if i.name not in names]
        self._of[tenant_id] = (*configured, *stored)
        self._systems[tenant_id] = _by_system(self._of[tenant_id])


def pollings_of(
    adapter: AnyAdapter, wanted: Mapping[str, PollWanted] | Mapping[str, PollSettings]
) -> tuple[Polling, ...]:
    """Those of the system's pollers that are wanted; of others nobody knows any more."""
    return tuple(
        Polling(poller, timedelta(seconds=wanted[poller.name].every_s or poller.every.total_seconds()))
        for poller in adapter.pollers
        if poller.name in wanted
    )


def unfit_secret(adapter: AnyAdapter, given: Iterable[SecretStr]) -> str | None:
    """Why by one of these secrets no webhook of the system can be verified; None where all fit."""
    if adapter.webhooks is None:
        return None
    form = adapter.webhooks.secrets
    fits = all(form.fits(secret.get_secret_value()) for secret in given)
    return None if fits else f"a secret of {adapter.name} is {form.said}"


def not_polled(adapter: AnyAdapter, wanted: Iterable[str], policy: CredentialPolicy) -> str | None:
    """Why the system cannot be polled so: no poller has the name, or only persons may call it."""
    known = sorted(poller.name for poller in adapter.pollers)
    if wanted and policy is CredentialPolicy.PERSONAL_REQUIRED:
        return "who polls is no person: choose another credential_policy"
    unknown = sorted(set(wanted) - set(known))
    if not unknown:
        return None
    return f"{adapter.name} has no poller {', '.join(unknown)}; there are: {', '.join(known) or 'none'}"


def key_of(tenant_id: UUID, name: str) -> str:
    """What an integration's policies are found by."""
    return f"{tenant_id}/{name}"


def place_of(row: StoredIntegration) -> str:
    """What is sealed of a row is sealed for it and for this version."""
    return f"{row.tenant_id}/integrations/{row.id}/{row.version}"


def leads_to(row: StoredIntegration) -> str:
    """And for the addresses that it leads to."""
    return digest_of_addresses(row.system, row.options)


def unsealed(row: StoredIntegration, envelope: Envelope) -> Sealed:
    """Raises `SealBroken`."""
    return Sealed.model_validate_json(envelope.open(row.sealed, place_of(row), leads_to(row)))


@asynccontextmanager
async def open_integrations(
    configured: Sequence[IntegrationSettings],
    adapters: Mapping[str, AnyAdapter],
    outside: Outside,
    changed: Callable[[UUID, Listed], Awaitable[None]] | None = None,
) -> AsyncIterator[Integrations]:
    """Connect every configured integration; none is called yet. `changed` is told when one changed a tenant's lists.

    Raises `ConfigurationError` that names the wrong one.
    """
    policies = PolicyTable()

    def given(tenant_id: UUID, name: str) -> Outside:
        """The world as one integration sees it."""
        seen = replace(outside, policies=policies.of(key_of(tenant_id, name), name))
        return seen if changed is None else replace(seen, changed=partial(changed, tenant_id))

    async with AsyncExitStack() as stack:
        opened = [
            await _open(stack, settings, adapters, given(settings.tenant_id, settings.name))
            for settings in configured
        ]
        connections = Connections()
        stack.push_async_callback(connections.close)
        yield Integrations(opened, adapters, connections, given, policies)


def _by_system(integrations: Sequence[Integration]) -> dict[str, tuple[str, ...]]:
    systems = dict.fromkeys(i.adapter.name for i in integrations)
    return {system: tuple(i.name for i in integrations if i.adapter.name == system) for system in systems}


async def _open(
    stack: AsyncExitStack, settings: IntegrationSettings, adapters: Mapping[str, AnyAdapter], outside: Outside
) -> Integration:
    adapter = adapters.get(settings.system)
    if adapter is None:
        raise ConfigurationError(
            f"integration {settings.name}: no system is named {settings.system!r}; there are: {', '.join(sorted(adapters))}"
        )
    try:
        options = adapter.settings.model_validate(settings.options)
    except ValidationError as error:
        raise ConfigurationError(f"integration {settings.name}: {refused(error).message}") from None
    if problem := not_polled(adapter, settings.polls, settings.credential_policy):
        raise ConfigurationError(f"integration {settings.name}: {problem}")
    if problem := unfit_secret(adapter, settings.webhook_secrets):
        raise ConfigurationError(f"integration {settings.name}: webhook_secrets: {problem}")
    secret = credential_fields(adapter.settings)
    sealed = Sealed(
        credentials={name: value for name, value in settings.options.items() if name in secret},
        webhook_secrets=tuple(
            KeptWebhookSecret(secret=s.get_secret_value()) for s in settings.webhook_secrets
        ),
    )
    return Integration(
        name=settings.name,
        tenant_id=settings.tenant_id,
        adapter=adapter,
        read_only=settings.read_only,
        policy=settings.credential_policy,
        options={name: value for name, value in settings.options.items() if name not in secret},
        unseal=lambda: sealed,
        client=await stack.enter_async_context(adapter.connect(options, outside)),
        pollings=pollings_of(adapter, settings.polls),
    )
