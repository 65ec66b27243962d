"""Sign-ins that last: a session is what a refresh token stands for, and what its access tokens end with."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from devops_mcp.models.base import Model
from devops_mcp.models.principals import Account, Principal

EVERYTHING = ("*",)
"""The scopes of a session that may do all that its user may."""


class TokenPair(Model):
    """An access token response (RFC 6749 §5.1). `expires_in` counts seconds; `scope` is `*`, or grants divided by spaces."""

    access_token: str = Field(repr=False)
    refresh_token: str = Field(repr=False)
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the kind of token
    expires_in: int
    scope: str
    session_id: UUID


class Session(Model):
    """A sign-in of a user through a client. It ends at `expires_at`, at `idle_until` unless refreshed before, or when revoked."""

    id: UUID
    user_id: UUID
    client_id: str
    client_name: str
    audience: str
    scopes: tuple[str, ...]
    address: str | None
    created_at: datetime
    refreshed_at: datetime
    idle_until: datetime
    expires_at: datetime
    revoked_at: datetime | None = None


class StoredSession(Session):
    """A session's row, with the hashes of its refresh tokens.

    `salt` is what the present one was made with from the one before. `identity_id` is the outside identity that it was begun by.
    """

    tenant_id: UUID
    identity_id: UUID | None = None
    refresh_hash: bytes = Field(repr=False)
    previous_hash: bytes | None = Field(default=None, repr=False)
    salt: bytes | None = Field(default=None, repr=False)


class SessionAccount(Account):
    """The user of a session, with what decides about it, and what the session was asked for."""

    session_id: UUID
    scopes: tuple[str, ...]

    def principal(self) -> Principal:
        """The user, within the session's scopes."""
        limits = () if self.scopes == EVERYTHING else (self.scopes,)
        return super().principal().model_copy(update={"limits": limits, "session_id": self.session_id})
