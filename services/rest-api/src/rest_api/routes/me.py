"""Who calls."""

from uuid import UUID

from pydantic import Field, SecretStr

from devops_mcp.models.accounts import MAX_PASSWORD, Password
from devops_mcp.models.base import Model
from devops_mcp.models.principals import PrincipalKind
from rest_api.endpoint import AnyEndpoint, Body, Call, Endpoint, NoBody, NoParams, Nothing

TAG = "me"


class Me(Model):
    """The caller as the platform knows it: what it may is what `grants` allow and each of `limits` does too.

    `user_id` is the user that it is, or acts for.
    """

    id: UUID
    tenant_id: UUID
    kind: PrincipalKind
    name: str
    user_id: UUID | None
    grants: tuple[str, ...]
    limits: tuple[tuple[str, ...], ...]


class PasswordChange(Body):
    current_password: SecretStr = Field(max_length=MAX_PASSWORD)
    password: Password


async def get_me(call: Call[NoParams, NoBody]) -> Me:
    """Get who the credential of this request belongs to, and what it may."""
    return Me(**call.principal.model_dump(include=set(Me.model_fields)))


async def change_own_password(call: Call[NoParams, PasswordChange]) -> Nothing:
    """Change the password of the user that calls."""
    body = call.body
    await call.platform.accounts.login.change_password(call.principal, body.current_password, body.password)
    return Nothing()


ME: tuple[AnyEndpoint, ...] = (
    Endpoint("GET", "/api/v1/me", TAG, get_me, Me),
    Endpoint(
        "PUT",
        "/api/v1/me/password",
        TAG,
        change_own_password,
        Nothing,
        body=PasswordChange,
        status=204,
        errors=(409, 429),
    ),
)
