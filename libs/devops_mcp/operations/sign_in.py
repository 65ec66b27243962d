"""Who sits at the browser: signed in on the authorization server's own pages, by a cookie that only these see.

The cookie is signed and holds no secret of ours. It ends after an hour, with the user's password, when the user is suspended, and when the
outside identity that signed in is the user's no longer. What a form says counts only together with the cookie that it was made for.
"""

import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from uuid import UUID

from pydantic import SecretStr

from devops_mcp.auth.keyring import Keyring, Signer
from devops_mcp.auth.outside_tokens import OutsideIdentity
from devops_mcp.models.accounts import UserCredentials, UserStatus
from devops_mcp.models.base import Clock, JsonObject, utc_now
from devops_mcp.models.errors import InvalidInput
from devops_mcp.models.principals import Principal
from devops_mcp.operations.login import LoginService
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.transaction import Transaction

LASTS = timedelta(hours=1)
FORM_LASTS = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Browser:
    """A browser that we know again by `mark`, and who signed in with it."""

    mark: str
    user: Principal | None
    cookie: str


class SignInService:
    """Reads and makes the cookie, and the marks of forms."""

    def __init__(
        self, database: Database, login: LoginService, keyring: Keyring, *, now: Clock = utc_now
    ) -> None:
        self._database = database
        self._login = login
        self._cookies = Signer(keyring, "sign-in cookie")
        self._forms = Signer(keyring, "form")
        self._now = now

    async def browser(self, cookie: str | None) -> Browser:
        """The browser that sends `cookie`; one that is new where it sends none that is good."""
        try:
            said = self._cookies.read(cookie or "", self._now())
        except InvalidInput:
            return self._new()
        user = await self._user(said)
        return Browser(str(said["mark"]), user, cookie or "")

    async def sign_in(self, login: str, password: SecretStr) -> Browser:
        """The browser of who knows the password, with another mark than before. Raises as `LoginService.verify_password` does."""
        return await self.signed_in(await self._login.verify_password(login, password))

    async def signed_in(self, user: Principal, identity: OutsideIdentity | None = None) -> Browser:
        """The browser of a user who has proved to be that, with another mark than before; by `identity`, if that is still linked."""
        async with self._database.transaction(user.tenant_id) as tx:
            found = await tx.users.credentials(user_id=user.id)
            linked = await _linked(tx, user.id, identity) if identity is not None else None
        if identity is not None and linked is None:
            return self._new()
        user = user.model_copy(update={"identity_id": linked})
        mark = secrets.token_urlsafe(16)
        said: JsonObject = {
            "mark": mark,
            "tenant": str(user.tenant_id),
            "user": str(user.id),
            "proof": _proof(found, mark),
            "identity": str(linked) if linked is not None else None,
        }
        return Browser(mark, user, self._cookies.sign(said, self._now() + LASTS))

    def sign_out(self) -> Browser:
        return self._new()

    def form(self, browser: Browser, content: JsonObject) -> str:
        """What a form carries so that it is known to be ours, and sent by this browser."""
        return self._forms.sign({"mark": browser.mark, "content": content}, self._now() + FORM_LASTS)

    def content_of(self, browser: Browser, form: str) -> JsonObject:
        """What a form that came back was made with. Raises `InvalidInput` for one of another browser, or too old."""
        said = self._forms.read(form, self._now())
        content = said["content"]
        if not hmac.compare_digest(str(said["mark"]), browser.mark) or not isinstance(content, dict):
            raise InvalidInput("the form was made for another browser or before signing in; begin again")
        return content

    def _new(self) -> Browser:
        mark = secrets.token_urlsafe(16)
        return Browser(mark, None, self._cookies.sign({"mark": mark}, self._now() + LASTS))

    async def _user(self, said: JsonObject) -> Principal | None:
        if "user" not in said:
            return None
        async with self._database.transaction(UUID(str(said["tenant"]))) as tx:
            found = await tx.users.credentials(user_id=UUID(str(said["user"])))
            link = UUID(str(said["identity"])) if said.get("identity") else None
            unlinked = found is not None and await _is_unlinked(tx, found.id, link)
        if found is None or unlinked or found.status is not UserStatus.ACTIVE:
            return None
        if not hmac.compare_digest(_proof(found, str(said["mark"])), str(said["proof"])):
            return None
        return found.principal().model_copy(update={"identity_id": link})


async def _linked(tx: Transaction, user_id: UUID, identity: OutsideIdentity) -> UUID | None:
    """The id of the link between the two."""
    wanted = (identity.issuer, identity.subject)
    links = await tx.identities.of_user(user_id)
    return next((link.id for link in links if (link.issuer, link.subject) == wanted), None)


async def _is_unlinked(tx: Transaction, user_id: UUID, link: UUID | None) -> bool:
    """Whether a user signed in by a link that is there no longer."""
    return link is not None and link not in [one.id for one in await tx.identities.of_user(user_id)]


def _proof(user: UserCredentials | None, mark: str) -> str:
    """Changes with the password, and tells nothing of it: its hash is salted and slow."""
    hashed = (user.password_hash if user else None) or ""
    return sha256(f"{mark}\0{hashed}".encode()).hexdigest()
