"""What users let programs do, as people see it: listed, and withdrawn."""

from uuid import UUID

from devops_mcp.models.base import Clock, JsonObject, utc_now
from devops_mcp.models.errors import NotFound
from devops_mcp.models.oauth import Consent
from devops_mcp.models.pages import Order, Page
from devops_mcp.models.principals import Principal
from devops_mcp.operations.contexts import require
from devops_mcp.operations.deeds import deed, denial
from devops_mcp.repositories.database import Database

READ = "consents:read"
WRITE = "consents:write"
OWN = "consents:own"


class ConsentService:
    """Users see and withdraw their own, who manages users those of all."""

    def __init__(self, database: Database, *, now: Clock = utc_now) -> None:
        self._database = database
        self._now = now

    async def page(self, principal: Principal, *, order: Order, limit: int) -> Page[Consent]:
        """Those of all; who may not read all sees their own."""
        everybodys = principal.may(READ)
        if not everybodys:
            require(principal, OWN)
        user_id = None if everybodys else principal.user_id or principal.id
        async with self._database.transaction(principal.tenant_id) as tx:
            found = await tx.consents.page(user_id, order, limit + 1)
        return order.page(found, limit)

    async def get(self, principal: Principal, consent_id: UUID) -> Consent:
        """Raises `NotFound`, also for another's where the principal sees only its own."""
        if not principal.may(READ):
            require(principal, OWN)
        async with self._database.transaction(principal.tenant_id) as tx:
            consent = await tx.consents.find(consent_id)
        if consent is None or not (principal.may(READ) or consent.user_id == principal.user_id):
            raise _absent(consent_id)
        return consent

    async def withdraw(self, principal: Principal, consent_id: UUID) -> None:
        """The client is asked about again, and its sessions end within seconds. Raises `NotFound`, also for another's."""
        target = f"consent:{consent_id}"
        if not principal.may(WRITE) and not principal.may(OWN):
            why = f"lacks the permission {WRITE!r}"
            raise await denial(self._database, principal, "consents.write", target, why)
        async with self._database.transaction(principal.tenant_id) as tx:
            consent = await tx.consents.find(consent_id)
            if consent is None or not (principal.may(WRITE) or consent.user_id == principal.user_id):
                raise _absent(consent_id)
            ended = await tx.consents.withdraw(consent, self._now())
            about: JsonObject = {
                "user_id": str(consent.user_id),
                "client_id": consent.client_id,
                "sessions": ended,
            }
            await tx.audit.append([deed(principal, "consents.withdraw", target, about)])


def _absent(consent_id: UUID) -> NotFound:
    return NotFound(f"there is no consent {consent_id}")
